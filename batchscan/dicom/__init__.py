"""DICOM files -> pictures."""

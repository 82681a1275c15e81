"""The version of the package, alone in its file so that packaging can read it without imports."""

VERSION = "0.1.0"

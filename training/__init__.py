"""From a labelled data set to a trained model bundle."""

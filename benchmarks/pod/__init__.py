"""Programs compiled for TPU pods that are not here."""

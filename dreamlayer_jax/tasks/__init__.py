"""What a person asks a model for, each a function of the loaded model: text to layers, editing, image to layers."""

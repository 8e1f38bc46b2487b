"""The blind sheet: can somebody who does not know the prompts say what generated pictures show?"""

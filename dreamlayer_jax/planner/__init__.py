"""One sentence to the prompts of a scene's layers (paper §1, where GPT-4 does it): by rules of English, or by a chat endpoint."""

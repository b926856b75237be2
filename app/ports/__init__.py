"""The ports that operations work through, as contracts. Nobody has to inherit from them."""

"""How stored values become the colours that the network sees, and back."""

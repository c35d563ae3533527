"""Picture files decoded with care, and files that appear whole or not at all."""

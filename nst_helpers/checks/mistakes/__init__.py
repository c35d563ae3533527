"""The mistakes that a check recognises, each by what it would compute."""

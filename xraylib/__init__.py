"""Small functions below the book."""

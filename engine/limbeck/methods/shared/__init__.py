"""What methods have in common: no method is here, and methods never import each other."""

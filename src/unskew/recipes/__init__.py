"""Recipes: named combinations of parts, one YAML file each, with their source."""

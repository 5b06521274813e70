"""The kinds of stage that a recipe is made of; each leaves a folder that a later one reads."""

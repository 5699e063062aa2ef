"""Where drivers run. One module a kind of place; `base` says what each must offer."""

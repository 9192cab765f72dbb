"""The reference study and experiments; nothing in the product imports them."""

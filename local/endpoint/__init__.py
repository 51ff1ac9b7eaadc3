"""The local AWS endpoint: moto, extended where the product needs more than moto does."""

"""EC2 Image Builder, which moto does not have."""

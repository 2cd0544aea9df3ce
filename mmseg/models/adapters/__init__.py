"""Parameter-efficient adaptation: encoders that are frozen but for the weights of an adapter."""

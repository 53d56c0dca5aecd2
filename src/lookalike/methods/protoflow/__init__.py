"""ProtoFlow: prototypes in the latent space of an invertible network."""

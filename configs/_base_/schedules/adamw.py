# AdamW as Transformers need it (paper, Section 4.1). The rate is the encoder's; that the head gets
# ten times as much, and which parameters do not decay, depends on the network.
optimizer = dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01)
optimizer_config = dict()

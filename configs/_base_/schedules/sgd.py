# SGD as CNNs are trained with in earlier work on UDA (AdvSeg, MinEnt), which use a rate of 2.5e-3.
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
optimizer_config = dict()

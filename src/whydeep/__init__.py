"""What deep-learning theory predicts of a network, measured on real ones: do they agree?

    import whydeep as wd

    net = wd.mlp(depth=8, width=128, activation="tanh")
    x, y = wd.data.load("digits", n=4)
    predicted = wd.predict(net, x)
    measured = wd.measure(net, x)
    print(wd.compare(predicted, measured))

Importing whydeep is quick: JAX and the rest are imported when first needed.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

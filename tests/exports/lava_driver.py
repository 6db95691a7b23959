"""Runs in a Python 3.10 with lava-nc and lava-dl: the spikes that Lava's bit-accurate simulation of a netx file gives.

``python lava_driver.py NETWORK.net IN.npz OUT.npz``: ``x`` is ``[sample, time, inputs]``. Each block passes its sums on
one step later, so a program's step t comes out at t + number of blocks. netx imports SLAYER for resonators alone, and
SLAYER torch: neither is needed, so both are left out.
"""

import sys
import types

import numpy as np


def left_out(name, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module


def main(network, given, found):
    left_out("torch", tensor=type("tensor", (), {}), is_tensor=lambda x: False)
    left_out("lava.lib.dl.slayer")
    left_out("lava.lib.dl.slayer.neuron")
    left_out("lava.lib.dl.slayer.neuron.rf", neuron_params=None)
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    x = np.load(given)["x"]
    answers = []
    for sample in x:  # [time, ...]
        net = Network(net_config=network)
        wait = len(net)
        shaped = sample.reshape(len(sample), -1)
        if len(net.inp.shape) == 3:  # Lava's images are [x, y, channel], ours [channel, row, column]
            shaped = sample.transpose(0, 3, 2, 1)
        late = np.concatenate([shaped, np.zeros((wait, *shaped.shape[1:]), shaped.dtype)])
        source = Source(data=np.moveaxis(late, 0, -1).astype(int))
        sink = Sink(shape=net.out.shape, buffer=len(late))
        source.s_out.connect(net.inp)
        net.out.connect(sink.a_in)
        net.run(condition=RunSteps(num_steps=len(late)), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        answers.append(sink.data.get().copy()[..., wait:])
        net.stop()
    np.savez(found, spikes=np.stack(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

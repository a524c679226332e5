"""From which learning rate on do BF16 weights stop moving? One epoch on the digits per rate.

Run: python examples/absorbed_updates.py [--quick]
"""

import sys

import fpemu as fp

data = fp.data.digits()
rates = [0.03] if "--quick" in sys.argv else [0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]

print("learning rate  updates absorbed: BF16 weights  FP16 weights  FP32 masters")
for lr in rates:
    shares = []
    for policy in ("bf16", "fp16", "bf16_master"):
        fp.manual_seed(0)
        model = fp.nn.mlp([64, 32, 10])
        sgd = fp.optim.SGD(model.parameters(), lr=lr)
        trace = fp.train(model, data, policy=policy, optimizer=sgd, epochs=1).trace
        shares.append(trace.count("swamped", op="absorbed") / trace.count("nonzero", op="absorbed"))
    print(f"{lr:13g}  {shares[0]:30.1%}  {shares[1]:12.1%}  {shares[2]:12.1%}")

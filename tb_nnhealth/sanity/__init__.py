"""The sanity checks to be made before a training: twelve questions that take seconds, and save days.

```python
from tb_nnhealth import SummaryWriter, preflight

writer = SummaryWriter("runs/exp1")
x, y = next(iter(loader))
report = preflight(make_model, criterion, (x, y), make_optimizer=lambda p: torch.optim.Adam(p, 3e-4),
                   num_classes=10, causal=False, writer=writer)
print(report)
assert report.ok
```

`report.checks` holds for each check its `id`, its `status` (`pass`, `warn`, `fail`, `skip`), a `message`, the
`evidence` in numbers and `advice`; `report["batch-leak"]` is one of them. `report.ok` says that none failed. With
`writer=` the report is in the log: `nnhealth inspect` prints it, and the NN Health tab shows it among the checks.

## What to give it

- `make_model`: a function that makes a fresh model at each call, such as `lambda: Net(width=64)` or the class itself.
- `criterion`: a loss module, or any function of outputs and targets that returns one number. A module of PyTorch's is
  given the output's `.logits`, or its first part, where the output is no tensor. `None` where the model returns its
  own `loss`.
- `batch`: a batch of the real data, as the training has it: `(x, y)`, `((x1, x2), y)`, `({"input_ids": …}, y)`, or
  one mapping with the targets under `labels`, `label`, `targets`, `target` or `y`. The larger, the more can be said:
  256 samples let every check decide, below 64 `random-input` and `shuffled-labels` are skipped.
- `make_optimizer`: makes the optimizer from parameters; Adam at 1e-3 without it.
- `num_classes`, where the output's width does not tell; `causal=True` for models that must not see later positions;
  `batch_dim`, where the shapes do not tell which axis the samples lie along.
- `seconds` (30): what is undecided then is skipped. `checks` chooses some by id. `progress` shows a line on stderr,
  by default on a terminal.

## What it leaves alone

Models are made anew, and copied where they share weights with each other. Batch and criterion are copied. The
generators of Python, NumPy and PyTorch (also on accelerators), gradient and inference mode, default dtype, warning
filters and backend flags are put back, so that the training that follows is bit for bit the training without
preflight. What your model raises becomes the result of the check. Only arguments that cannot be meant raise: a
factory that returns no module or the same one twice, a batch without targets, an unknown id.

## What the words mean

**fail**: something is wrong. **warn**: look at it. **skip**: it does not apply, or could not be decided, and the
message says why; it never counts as passed. Only what is wrong beyond doubt fails: an unusual model passes or is
skipped.

The checks that train share one trick: the least loss that is possible on the batch, and the least that an output
reaches which ignores its input, are found by optimizing free outputs in the model's place. So class weights, label
smoothing, soft targets, contradicting duplicates and criteria of your own are accounted for.
"""

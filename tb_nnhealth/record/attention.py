"""Attention heads: entropy and largest logit, read of the modules that compute attention when they return."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.attention_graph import Fused, HiddenError, attention_nodes, read_node
from tb_nnhealth.record.attention_read import Heads, read_fused, read_written_out
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_table import Record

LEARNED_FROM = 2
"""Readings in which every module is asked whether it computes attention; later only those that did."""
_RECORDS, _SELDOM = 16, 4
"""After so many records only one in four is read: heads change slowly."""
_HEADS = ("num_heads", "num_attention_heads", "n_head", "n_heads", "heads", "nhead")


class Attention:
    """The heads of each module whose forward holds attention itself, from the autograd graph of its output.

    ``F.scaled_dot_product_attention``, ``nn.MultiheadAttention`` and a softmax over products written out are seen;
    what a checkpoint hides, or compiled code, is not.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._records = self._readings = 0
        self._known: set[WatchedModule] = set()
        self._claimed: set[Any] = set()
        self._read: dict[str, Heads] = {}
        self.reading = False
        """Whether returned() is to be told of modules in this step."""

    def open(self) -> None:
        """Begins a measured step."""
        self._let_go()
        self._records += 1
        due = self._records <= _RECORDS or self._records % _SELDOM == 0
        self.reading = due and (self._readings < LEARNED_FROM or bool(self._known))

    def returned(self, entry: WatchedModule, module: Any, args: Any, output: Any) -> None:
        """Takes a module's call, those within it before it."""
        learning = self._readings < LEARNED_FROM
        if not entry.wanted or entry.name in self._read or not (learning or entry in self._known):
            return
        if not (entry.leaves or isinstance(module, nn.MultiheadAttention) or _is_users(module)):
            return
        ends = [tensor.grad_fn for tensor in tensors_in(output) if tensor.grad_fn is not None]
        inputs = {tensor.grad_fn for tensor in tensors_in(args)}
        for node in attention_nodes(ends[0], inputs) if ends else ():
            if learning:
                if node in self._claimed:
                    return
                self._claimed.add(node)
                self._known.add(entry)
            heads = _read(node, module)
            if heads is not None:
                self._read[entry.name] = heads
            return

    def write(self, record: Record) -> None:
        for name, heads in self._read.items():
            shape = (heads.keys,)
            rows = [
                self._catalog.row(schema.ATTENTION, head_subject(name, i), shape) for i in range(len(heads.entropy))
            ]
            record.share_many(rows, schema.MEAN, _numbers(heads.entropy))
            record.share_many(rows, schema.MAX, _numbers(heads.largest))
            record.share_many(rows, schema.ZERO_SHARE, _numbers(heads.blind))
        if self.reading and self._readings < LEARNED_FROM:
            self._readings += 1
        self._let_go()

    def _let_go(self) -> None:
        self.reading = False
        self._claimed.clear()
        self._read.clear()


def head_subject(module: str, head: int) -> str:
    return f"{module}{schema.HEAD_SEPARATOR}{head}"


def _read(node: Any, module: Any) -> Heads | None:
    try:
        found = read_node(node)
    except HiddenError:
        return None
    kind = (found.queries if isinstance(found, Fused) else found.weights).device.type
    with torch.autocast(kind, enabled=False):  # products in half precision would round the logits
        return read_fused(found) if isinstance(found, Fused) else read_written_out(found, _heads_of(module))


def _heads_of(module: Any) -> int:
    """How many heads a module says it has, 1 where it does not."""
    for name in _HEADS:
        value = module.__dict__.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 1


def _is_users(module: Any) -> bool:
    return not type(module).__module__.startswith("torch.")


def _numbers(values: Any) -> Any:
    return values.numpy() if values.is_cpu else values

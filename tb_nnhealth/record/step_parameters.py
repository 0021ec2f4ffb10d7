"""Weights, gradients and updates, read around the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tb_nnhealth import native, schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce import scalar
from tb_nnhealth.record.reduce_copies import copied_share
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.reduce_segments import as_segment
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.step_small import SmallParameters
from tb_nnhealth.record.step_snapshot import SAMPLED, Snapshot, copies_fit
from tb_nnhealth.record.step_table import ParameterTable, Room

_COPIES_LOOKED_FOR = 3
"""First records in which copied units are looked for; later only with the histograms."""
_TABLE = "table of parameters"


class Parameters:
    """Statistics of the model's parameters for the record of one step.

    The gradient is that which the optimizer applies: read after accumulation, reduction and clipping, and divided by
    the scale where the optimizer itself unscales. The update is what the step did to the weights.
    """

    def __init__(
        self, catalog: Catalog, fail: Callable[[str, Exception], bool], *, sampled_updates: bool = False
    ) -> None:
        """``sampled_updates``: those of weights of many elements; without it only where memory is short."""
        self._catalog, self._fail, self._asked = catalog, fail, sampled_updates
        self.sampled = sampled_updates
        """Whether updates were sampled in the last measured step."""
        self._snapshots: dict[int, list[Snapshot]] = {}
        self._small: dict[int, SmallParameters] = {}
        self._tables: dict[int, ParameterTable] = {}
        self._rooms: dict[int, Room] = {}
        self._measured: set[str] = set()
        self._records = 0
        self._resting: dict[str, tuple[Any, Gathered]] = {}
        self._known: set[str] = set()
        self._disabled: set[str] = set()

    def open(self, *, counted: bool) -> None:
        self._counted = counted
        self._forget()
        self._measured.clear()
        self._records += 1

    def close(self) -> None:
        """The next step is not measured."""
        self._forget()
        self._rooms.clear()

    def _forget(self) -> None:
        self._snapshots.clear()
        self._small.clear()
        self._tables.clear()

    def before(self, index: int, optimizer: Any, record: Record, *, closure: bool) -> None:
        """Reads what the optimizer is about to change. With a ``closure`` the gradients are not there yet."""
        snapshots = self._snapshots[index] = []
        small = self._small[index] = SmallParameters()
        table = self._tables[index] = ParameterTable(
            self._rooms.setdefault(index, Room()), counted=self._counted, closure=closure
        )
        scale = getattr(optimizer, "grad_scale", None)
        natively = scale is None and native.core is not None and _TABLE not in self._disabled
        self.sampled = self._asked or not copies_fit(optimizer)
        plainly = scale is None and not closure and not self._looks_for_copies and not natively
        for g, group in enumerate(optimizer.param_groups):
            self._learning_rate(record, f"{index}.{g}", group)
            for parameter in group["params"]:
                entry = self._catalog.parameter(parameter)
                if entry is None or entry.name in self._disabled:
                    continue
                try:
                    sampled = self.sampled and parameter.numel() > SAMPLED
                    if (
                        natively
                        and parameter.requires_grad
                        and table.add(entry, parameter, self._rows, copied=not sampled)
                    ):
                        self._measured.add(entry.name)
                        if sampled:
                            snapshots.append(Snapshot(entry, parameter, sampled=True, gradient_read=True))
                        continue
                    if plainly and parameter.requires_grad and self._added(small, entry, parameter):
                        continue
                    self._weight(record, entry, parameter)
                    if not parameter.requires_grad:
                        continue
                    if not closure:
                        self._gradient(record, entry, parameter, scale)
                    if closure or parameter.grad is not None:
                        snapshots.append(Snapshot(entry, parameter, sampled=sampled))
                except Exception as error:
                    self._failed(entry, error)
        small.before()
        self._table_before(index, record)

    def _table_before(self, index: int, record: Record) -> None:
        table = self._tables[index]
        try:
            for entry, parameter, rms in table.before(record):
                self._initial(entry, rms)
                if self._looks_for_copies:
                    copied = copied_share(parameter.detach())
                    if copied is not None:
                        record.share(self._rows(entry)[0], schema.COPIED_SHARE, copied)
        except Exception as error:
            del self._tables[index]
            self._table_failed(error)

    def _table_after(self, index: int, record: Record) -> list[int]:
        table = self._tables.pop(index, None)
        try:
            if table is not None:
                return table.after(record, lambda entry, parameter: self._gradient(record, entry, parameter, None))
        except Exception as error:
            self._table_failed(error)
        return []

    def _table_failed(self, error: Exception) -> None:
        if self._fail(_TABLE, error):
            self._disabled.add(_TABLE)

    @property
    def _looks_for_copies(self) -> bool:
        return self._counted or self._records <= _COPIES_LOOKED_FOR

    def _added(self, small: SmallParameters, entry: WatchedParameter, parameter: Any) -> bool:
        """Leaves the parameter to ``small`` where that can take it."""
        if entry.name not in self._known:
            return False
        weight, gradient = as_segment(parameter), as_segment(parameter.grad)
        if weight is None or gradient is None:
            return False
        self._measured.add(entry.name)
        small.add(parameter, weight, gradient, self._rows(entry))
        return True

    def after(self, index: int, optimizer: Any, record: Record, *, closure: bool) -> None:
        """Reads what the optimizer has changed."""
        found_inf = getattr(optimizer, "found_inf", None)
        rows = self._small[index].after() if index in self._small else []
        rows += self._table_after(index, record)
        for snapshot in self._snapshots.pop(index, []):
            entry, parameter = snapshot.entry, snapshot.parameter
            try:
                if closure and not snapshot.gradient_read:
                    self._gradient(record, entry, parameter, None)
                row = self._row(schema.UPDATE, entry)
                if parameter.grad is not None:
                    snapshot.write(record, row, counted=self._counted)
                    rows.append(row)
            except Exception as error:
                self._failed(entry, error)
        if found_inf is not None:  # a fused optimizer that finds infinite gradients leaves the weights alone
            record.skip_if(found_inf, rows)

    def rest(self, record: Record, *, gradients: bool = True) -> None:
        """Reads the parameters that no optimizer of this step holds, and reduces the small ones of those that do."""
        for small in self._small.values():
            small.write(record)
        self._small.clear()
        for parameter, entry in self._catalog.parameters():
            if entry.name in self._measured or entry.name in self._disabled:
                continue
            try:
                self._weight(record, entry, parameter)
                if gradients and parameter.requires_grad and entry.optimizer < 0:
                    self._gradient(record, entry, parameter, None)
            except Exception as error:
                self._failed(entry, error)

    def _failed(self, entry: WatchedParameter, error: Exception) -> None:
        if self._fail(f"parameter {entry.name}", error):
            self._disabled.add(entry.name)

    def _row(self, kind: str, entry: WatchedParameter) -> int:
        return self._catalog.row(kind, entry.name, entry.shape, entry.dtype)

    def _rows(self, entry: WatchedParameter) -> tuple[int, int, int]:
        """Of weight, gradient and update."""
        if entry.rows is None:
            weight, gradient, update = (self._row(kind, entry) for kind in schema.PARAMETER_KINDS)
            entry.rows = weight, gradient, update
        return entry.rows

    def _weight(self, record: Record, entry: WatchedParameter, parameter: Any) -> None:
        self._measured.add(entry.name)
        state = _state(parameter)
        resting = self._resting.get(entry.name)
        if resting is not None and resting[0] == state and not self._counted and not parameter.requires_grad:
            gathered = resting[1]  # a frozen weight is the same as last time
        else:
            gathered = Gathered()
            taken = gathered.take(parameter, counted=self._counted)
            if taken is None:
                return
            if self._looks_for_copies:
                copied = copied_share(taken[0].tensor) if not taken[0].implicit_zeros else None
                if copied is not None:
                    gathered.shares.append((schema.COPIED_SHARE, copied, 1.0))
            if not parameter.requires_grad:
                self._resting[entry.name] = state, gathered
            self._initial(entry, taken[1].values[2])
        gathered.write(record, self._row(schema.WEIGHT, entry))

    def _initial(self, entry: WatchedParameter, rms: Any) -> None:
        if entry.name in self._known:
            return
        self._known.add(entry.name)
        entry.initial_rms = float(rms)  # waits for the device, once
        self._catalog.changed = True

    def _gradient(self, record: Record, entry: WatchedParameter, parameter: Any, scale: Any) -> None:
        row = self._row(schema.GRADIENT, entry)
        if parameter.grad is None:
            return
        gathered = Gathered()
        if scale is None:
            gathered.take(parameter.grad, counted=self._counted)
        elif self._counted:
            values = readable(parameter.grad)
            if values is not None:
                gathered.take(values.tensor / scale, counted=True)
        else:
            gathered.take(parameter.grad)
            gathered.scale(scale)
        gathered.write(record, row)

    def _learning_rate(self, record: Record, subject: str, group: dict[str, Any]) -> None:
        rate = group.get("lr")
        if rate is None:
            return
        row = self._catalog.row(schema.LEARNING_RATE, subject)
        if isinstance(rate, torch.Tensor) and not rate.is_cpu:
            gathered = Gathered()
            gathered.take(rate)
            gathered.write(record, row)
        else:
            record.add(row, scalar(float(rate)))


def _state(parameter: Any) -> Any:
    """Changes when the parameter's storage or contents do, other than through ``.data``."""
    if parameter.is_inference():
        return math.nan
    try:
        return parameter.data_ptr(), parameter._version
    except (RuntimeError, NotImplementedError):  # no storage of its own (a shard, a sparse tensor)
        return math.nan

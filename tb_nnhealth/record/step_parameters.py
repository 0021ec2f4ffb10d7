"""Weights, gradients and updates, read around the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tb_nnhealth import native, schema
from tb_nnhealth.record.device_table import DeviceTable, Tables
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

_RMS = schema.STATISTICS.index(schema.RMS)
_COPIES_LOOKED_FOR = 3
"""First records in which copied units are looked for; later only with the histograms."""
_TABLE, _DEVICE_TABLE = "table of parameters", "table of parameters on a device"


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
        self._tables: dict[int, dict[str, ParameterTable | DeviceTable]] = {}
        self._rooms: dict[int, Room] = {}
        self._kept: dict[int, ParameterTable] = {}
        """The last step's tables that took all parameters of an optimizer."""
        self._scans = 0
        self._pointers: dict[int, Tables] = {}
        self._arrived: list[tuple[str, float]] = []
        self._measured: set[str] = set()
        self._records = 0
        self._resting: dict[str, tuple[Any, Gathered]] = {}
        self._known: set[str] = set()
        self._disabled: set[str] = set()

    def open(self, *, counted: bool) -> None:
        self._counted = counted
        self._forget()
        self._take_initial()
        self._measured.clear()
        self._records += 1

    def close(self) -> None:
        """The next step is not measured."""
        self._forget()
        for room in self._rooms.values():
            room.rest()

    def _forget(self) -> None:
        self._snapshots.clear()
        self._small.clear()
        self._tables.clear()
        for table in self._kept.values():
            table.let_go()

    def before(self, index: int, optimizer: Any, record: Record, *, closure: bool) -> None:
        """Reads what the optimizer is about to change. With a ``closure`` the gradients are not there yet."""
        snapshots = self._snapshots[index] = []
        small = self._small[index] = SmallParameters()
        scale = getattr(optimizer, "grad_scale", None)
        natively = scale is None and native.core is not None and _TABLE not in self._disabled
        on_device = scale is None and _DEVICE_TABLE not in self._disabled
        room = self._rooms.setdefault(index, Room())
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self._scans != self._catalog.scans:
            self._scans = self._catalog.scans
            self._kept.clear()
        kept = self._kept.pop(index, None)
        if (
            kept is not None
            and natively
            and not (closure or self._asked)
            and kept.again(parameters, room, counted=self._counted)
            and (kept.surely_fits or copies_fit(optimizer))
        ):
            self.sampled = False
            self._kept[index] = kept
            self._tables[index] = {_TABLE: kept}
            self._measured |= kept.names
            for g, group in enumerate(optimizer.param_groups):
                self._learning_rate(record, f"{index}.{g}", group)
            self._table_before(index, record)
            return
        self.sampled = self._asked or not copies_fit(optimizer)
        table = ParameterTable(room, counted=self._counted, closure=closure)
        pointers = self._pointers.setdefault(index, Tables())
        device_table = DeviceTable(pointers, counted=self._counted, closure=closure)
        self._tables[index] = {_TABLE: table, _DEVICE_TABLE: device_table}
        plainly = scale is None and not closure and not self._looks_for_copies and not natively
        for g, group in enumerate(optimizer.param_groups):
            self._learning_rate(record, f"{index}.{g}", group)
            for parameter in group["params"]:
                entry = self._catalog.parameter(parameter)
                if entry is None or entry.name in self._disabled:
                    continue
                try:
                    sampled = self.sampled and parameter.numel() > SAMPLED
                    if parameter.requires_grad and (
                        (natively and table.add(entry, parameter, self._rows, copied=not sampled))
                        or (on_device and device_table.add(entry, parameter, self._rows, copied=not sampled))
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
        if len(table.names) == len(parameters) and not self._disabled:
            self._kept[index] = table

    def _table_before(self, index: int, record: Record) -> None:
        for name, table in list(self._tables[index].items()):
            try:
                read = table.before(record)
                if not self._looks_for_copies and all(entry.name in self._known for entry, _, _ in read):
                    continue
                for entry, parameter, rms in read:
                    self._initial(record, self._rows(entry)[0], entry, rms)
                    if self._looks_for_copies:
                        copied = copied_share(parameter.detach())
                        if copied is not None:
                            record.share(self._rows(entry)[0], schema.COPIED_SHARE, copied)
            except Exception as error:
                del self._tables[index][name]
                self._table_failed(name, error)

    def _table_after(self, index: int, record: Record) -> list[int]:
        rows = []
        for name, table in self._tables.pop(index, {}).items():
            try:
                rows += table.after(record, lambda entry, parameter: self._gradient(record, entry, parameter, None))
            except Exception as error:
                self._table_failed(name, error)
        return rows

    def _table_failed(self, name: str, error: Exception) -> None:
        self._kept.clear()
        if self._fail(name, error):
            self._disabled.add(name)

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
            first = taken[1]
            self._initial(record, self._row(schema.WEIGHT, entry), entry, first.values[2] if first.on_host else None)
        gathered.write(record, self._row(schema.WEIGHT, entry))

    def _initial(self, record: Record, row: int, entry: WatchedParameter, rms: float | None) -> None:
        """Notes the scale of a weight seen first; where a device has it still (None), once the record is made."""
        if entry.name in self._known:
            return
        self._known.add(entry.name)
        self._catalog.changed = True
        if rms is not None:
            entry.initial_rms = float(rms)
            return
        name, arrived = entry.name, self._arrived
        record.when_made(lambda table: arrived.append((name, float(table[row, _RMS]))))

    def _take_initial(self) -> None:
        """Of the weights on a device the scales that have arrived since."""
        while self._arrived:
            name, rms = self._arrived.pop()
            for _, entry in self._catalog.parameters():
                if entry.name == name and math.isnan(entry.initial_rms):
                    entry.initial_rms, self._catalog.changed = rms, True

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

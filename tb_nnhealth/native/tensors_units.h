/* What is asked of a tensor beside its statistics. */
#ifndef TB_NNHEALTH_TENSORS_UNITS_H
#define TB_NNHEALTH_TENSORS_UNITS_H

#include "tensors.h"

/* Of a tensor (outer, units, inner) in memory order, with elements of `size` bytes: which units have an element that is
   not zero, 1 or 0 each, in `alive`. */
void alive_units(const void *x, size_t size, size_t outer, size_t units, size_t inner, uint8_t *alive);

/* Counts on for units without life and begins anew for the others; how many have reached `most`. */
int64_t silent_units(const uint8_t *alive, int32_t *counts, size_t units, int32_t most);

/* Elements below `low` or above `high`. */
int64_t outside(const struct job *job, double low, double high);

/* Rows that equal an earlier row bit for bit but for the sign of zeros; -1 where memory for their hashes is lacking. */
int64_t copied_rows(const void *x, size_t size, size_t rows, size_t columns);

#endif

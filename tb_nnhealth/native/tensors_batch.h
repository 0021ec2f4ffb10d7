/* An even part of a batch: what is asked of it in every measured step. */
#ifndef TB_NNHEALTH_TENSORS_BATCH_H
#define TB_NNHEALTH_TENSORS_BATCH_H

#include "tensors.h"

/* Beside the dtypes whose statistics are taken. */
enum { INT32 = DTYPES, INT16, INT8, UINT8, BATCH_TYPES };

/* Samples lie `apart` elements from each other, positions `step`; at least one of each. */
struct batch {
    int64_t address, type, samples, apart, positions, step;
};

size_t size_of_batch(int64_t type);

/* Standard deviation over samples at each position, root mean square over positions; not finite where an element is
   not, or where float64 cannot hold the squares. */
double spread(const struct batch *batch);

/* Of each sample the sum of its words by the weights `across`, and of these the sum by `down`, modulo 2**64. */
int64_t fingerprint(const struct batch *batch, const int64_t *across, const int64_t *down, int64_t *samples);

#endif

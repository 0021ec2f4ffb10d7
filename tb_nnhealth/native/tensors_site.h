/* An output of a layer that comes in the same form at every step: where it is read, and what is written of it. */
#ifndef TB_NNHEALTH_TENSORS_SITE_H
#define TB_NNHEALTH_TENSORS_SITE_H

#include "tensors.h"

enum aliveness { UNASKED, ALL_ALIVE, TOLD }; /* TOLD: by the flags */

/* All members are eight bytes wide: in Python a row of an int64 array, and of a float64 one over the same memory. */
struct site {
    int64_t dtype, numel;
    int64_t outer, units, inner; /* in memory order; units is 0 where they are not asked for */
    int64_t flags;               /* address of uint8[units] */
    int64_t bounded;             /* whether elements beyond the two bounds are counted */
    double least, most;
    double found[FIELDS];
    double outside;
    int64_t alive;
};
enum { SITE_WORDS = sizeof(struct site) / sizeof(int64_t) };

/* Reads the tensor at `address`, which is sound; adds to int64[HISTOGRAM_BINS] at `histogram` unless that is 0. */
void look(struct site *site, int64_t address, int64_t histogram);

#endif

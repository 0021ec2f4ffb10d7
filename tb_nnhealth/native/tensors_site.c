/* An output of a layer: its statistics, its silent units and its saturated elements, by one call. */
#include "tensors_site.h"

#include <string.h>

#include "tensors_units.h"

void look(struct site *site, int64_t address, int64_t histogram) {
    struct job job = {address, site->numel, site->dtype, READ, 0, histogram};
    reduce(&job, site->found);
    site->alive = UNASKED;
    if (site->units) {
        site->alive = ALL_ALIVE;
        if (site->found[ZEROS] >= (double)(site->numel / site->units)) { /* else no unit can be silent */
            uint8_t *flags = (uint8_t *)(intptr_t)site->flags;
            alive_units((const void *)(intptr_t)address, size_of(site->dtype), (size_t)site->outer,
                        (size_t)site->units, (size_t)site->inner, flags);
            if (memchr(flags, 0, (size_t)site->units)) site->alive = TOLD;
        }
    }
    if (site->bounded)
        site->outside = site->found[LOW] >= site->least && site->found[HIGH] <= site->most
                            ? 0
                            : (double)outside(&job, site->least, site->most);
}

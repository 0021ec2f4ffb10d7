/* Writing the events of records; the bytes are those that protobuf gives. */
#ifndef TB_NNHEALTH_ENCODE_H
#define TB_NNHEALTH_ENCODE_H

#include "framing.h"

typedef struct {
    double wall;
    int64_t step;
    Slice value;   /* of the Summary.Value: tag, and the key of the tensor */
    Slice tensor;  /* of the TensorProto: type, shape, and the key of the content */
    Slice content; /* little-endian elements */
} ArrayEvent;

uint64_t array_event_size(const ArrayEvent *event);
void write_array_event(uint8_t *out, const ArrayEvent *event);

#endif

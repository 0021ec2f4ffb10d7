/* Reductions of tensors. */
#include "core.h"

PyMethodDef tensor_methods[] = {{NULL, NULL, 0, NULL}};

/* Framing and scanning of event files. */
#include "core.h"

PyMethodDef event_methods[] = {{NULL, NULL, 0, NULL}};

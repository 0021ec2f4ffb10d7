/* What the files of the native core share. */
#ifndef TB_NNHEALTH_CORE_H
#define TB_NNHEALTH_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Each ends with an entry of nulls. */
extern PyMethodDef tensor_methods[];
extern PyMethodDef event_methods[];
extern PyMethodDef column_methods[];

/* Bytes of work that the interpreter's lock is given away for. */
enum { WORTH_RELEASING = 4096 };

#endif

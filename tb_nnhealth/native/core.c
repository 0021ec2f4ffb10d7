/* The module: its functions lie in tensors.c, events.c and columns.c. */
#include "core.h"

#include "crc32c.h"
#include "tensors.h"

static int execute(PyObject *module) {
    crc32c_prepare();
    choose_kernels();
    if (PyModule_AddFunctions(module, tensor_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, event_methods) < 0) return -1;
    return PyModule_AddFunctions(module, column_methods);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "tb_nnhealth.native._core", "Reductions of tensors, and event files.", 0, NULL, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }

/* Framing and encoding, for Python. All but short work gives the interpreter's lock away. */
#include "core.h"

#include "crc32c.h"
#include "encode.h"
#include "framing.h"

static PyObject *masked_crc(PyObject *module, PyObject *argument) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &data, &length) < 0) return NULL;
    uint32_t crc;
    if (length < WORTH_RELEASING) {
        crc = crc32c((const uint8_t *)data, (size_t)length);
    } else {
        Py_BEGIN_ALLOW_THREADS
        crc = crc32c((const uint8_t *)data, (size_t)length);
        Py_END_ALLOW_THREADS
    }
    return PyLong_FromUnsignedLong(crc32c_mask(crc));
}

static PyObject *portable_masked_crc(PyObject *module, PyObject *argument) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &data, &length) < 0) return NULL;
    return PyLong_FromUnsignedLong(crc32c_mask(crc32c_portable((const uint8_t *)data, (size_t)length)));
}

static PyObject *frame(PyObject *module, PyObject *argument) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(argument, &data, &length) < 0) return NULL;
    if (length > PY_SSIZE_T_MAX - HEADER_BYTES - FOOTER_BYTES) return PyErr_NoMemory();
    PyObject *record = PyBytes_FromStringAndSize(NULL, length + HEADER_BYTES + FOOTER_BYTES);
    if (!record) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(record);
    if (length < WORTH_RELEASING) {
        write_record(out, (const uint8_t *)data, (uint64_t)length);
    } else {
        Py_BEGIN_ALLOW_THREADS
        write_record(out, (const uint8_t *)data, (uint64_t)length);
        Py_END_ALLOW_THREADS
    }
    return record;
}

static PyObject *array_event(PyObject *module, PyObject *args) {
    const char *value, *tensor;
    Py_ssize_t value_length, tensor_length;
    long long step;
    unsigned long long address, length;
    ArrayEvent event;
    if (!PyArg_ParseTuple(args, "y#y#LdKK", &value, &value_length, &tensor, &tensor_length, &step, &event.wall, &address,
                          &length))
        return NULL;
    event.step = step;
    event.value = (Slice){(const uint8_t *)value, (uint64_t)value_length};
    event.tensor = (Slice){(const uint8_t *)tensor, (uint64_t)tensor_length};
    event.content = (Slice){(const uint8_t *)(uintptr_t)address, length};
    uint64_t size = array_event_size(&event);
    if (size > PY_SSIZE_T_MAX) return PyErr_NoMemory();
    PyObject *serialized = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!serialized) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(serialized);
    if (length < WORTH_RELEASING) {
        write_array_event(out, &event);
    } else {
        Py_BEGIN_ALLOW_THREADS
        write_array_event(out, &event);
        Py_END_ALLOW_THREADS
    }
    return serialized;
}

PyMethodDef event_methods[] = {
    {"masked_crc", masked_crc, METH_O, "masked_crc(data): the masked CRC-32C of bytes."},
    {"portable_masked_crc", portable_masked_crc, METH_O, "masked_crc without the processor's instruction."},
    {"frame", frame, METH_O, "frame(data): bytes as one record of an event file."},
    {"array_event", array_event, METH_VARARGS,
     "array_event(value, tensor, step, wall, address, length): the serialized Event of a record whose elements lie at an "
     "address; events/encode.py makes what stands before them in its messages."},
    {NULL, NULL, 0, NULL},
};

/* Reductions of tensors, called from Python. Tensors are given by the addresses of their elements. */
#include <string.h>

#include "core.h"
#include "tensors.h"
#include "tensors_batch.h"
#include "tensors_site.h"
#include "tensors_units.h"

#define ALONE (1 << 18) /* elements from which other threads may have the interpreter meanwhile */

static PyObject *instruction_sets(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *names = PyList_New(0);
    const struct kernels *here[KERNELS_MOST];
    int count = kernels_here(here);
    for (int i = 0; names && i < count; i++) {
        PyObject *name = PyUnicode_FromString(here[i]->name);
        if (!name || PyList_Append(names, name) < 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *use(PyObject *module, PyObject *name) {
    (void)module;
    const struct kernels *here[KERNELS_MOST];
    int count = kernels_here(here);
    for (int i = 0; i < count; i++)
        if (PyUnicode_CompareWithASCIIString(name, here[i]->name) == 0) {
            kernels = here[i];
            Py_RETURN_NONE;
        }
    return PyErr_Format(PyExc_ValueError, "expected one of instruction_sets(), found %R", name);
}

static int integers(PyObject *const *args, Py_ssize_t given, Py_ssize_t expected, int64_t *out) {
    if (given != expected) {
        PyErr_Format(PyExc_TypeError, "expected %zd integers, found %zd", expected, given);
        return -1;
    }
    for (Py_ssize_t i = 0; i < expected; i++) {
        out[i] = PyLong_AsLongLong(args[i]);
        if (out[i] == -1 && PyErr_Occurred()) return -1;
    }
    return 0;
}

static int sound(const struct job *job) {
    if (job_is_sound(job)) return 1;
    PyErr_Format(PyExc_ValueError,
                 "expected elements of a known dtype at an address that suits it, found %lld of dtype %lld at %lld (%lld)",
                 (long long)job->numel, (long long)job->dtype, (long long)job->address, (long long)job->other);
    return 0;
}

static PyObject *statistics(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[4];
    if (integers(args, given, 4, in) < 0) return NULL;
    struct job job = {in[0], in[1], in[2], READ, 0, in[3]};
    double out[FIELDS];
    if (!sound(&job)) return NULL;
    if (job.numel < ALONE) {
        reduce(&job, out);
    } else {
        Py_BEGIN_ALLOW_THREADS
        reduce(&job, out);
        Py_END_ALLOW_THREADS
    }
    PyObject *result = PyTuple_New(FIELDS);
    for (int i = 0; result && i < FIELDS; i++) {
        PyObject *number = PyFloat_FromDouble(out[i]);
        if (!number || PyTuple_SetItem(result, i, number) < 0) Py_CLEAR(result);
    }
    return result;
}

static PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[3], elements = 0;
    if (integers(args, given, 3, in) < 0) return NULL;
    const struct job *jobs = (const struct job *)(intptr_t)in[0];
    double(*out)[FIELDS] = (double(*)[FIELDS])(intptr_t)in[2];
    for (int64_t i = 0; i < in[1]; i++) {
        if (!sound(&jobs[i])) return NULL;
        elements += jobs[i].numel;
    }
    if (elements < ALONE) {
        for (int64_t i = 0; i < in[1]; i++) reduce(&jobs[i], out[i]);
    } else {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t i = 0; i < in[1]; i++) reduce(&jobs[i], out[i]);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *look_at(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[3];
    if (integers(args, given, 3, in) < 0) return NULL;
    struct site *site = (struct site *)(intptr_t)in[0];
    struct job job = {in[1], site->numel, site->dtype, READ, 0, 0};
    if (!sound(&job)) return NULL;
    if (site->units && site->outer * site->units * site->inner != site->numel)
        return PyErr_Format(PyExc_ValueError, "expected the units of %lld elements, found those of %lld",
                            (long long)site->numel, (long long)(site->outer * site->units * site->inner));
    if (job.numel < ALONE) {
        look(site, in[1], in[2]);
    } else {
        Py_BEGIN_ALLOW_THREADS
        look(site, in[1], in[2]);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *alive(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[5];
    if (integers(args, given, 5, in) < 0) return NULL;
    struct job job = {in[0], in[2] * in[3] * in[4], in[1], READ, 0, 0};
    if (!sound(&job)) return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)in[3]);
    if (!result) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(result);
    const void *x = (const void *)(intptr_t)in[0];
    alive_units(x, size_of(in[1]), (size_t)in[2], (size_t)in[3], (size_t)in[4], out);
    if (!memchr(out, 0, (size_t)in[3])) {
        Py_DECREF(result);
        Py_RETURN_NONE;
    }
    return result;
}

static PyObject *silent(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[4];
    if (integers(args, given, 4, in) < 0) return NULL;
    if (!in[0] || !in[1] || in[2] <= 0) {
        PyErr_SetString(PyExc_ValueError, "expected flags, counts and at least one unit");
        return NULL;
    }
    return PyLong_FromLongLong(silent_units((const uint8_t *)(intptr_t)in[0], (int32_t *)(intptr_t)in[1],
                                            (size_t)in[2], (int32_t)in[3]));
}

static PyObject *count_outside(PyObject *module, PyObject *args) {
    (void)module;
    long long address, numel, dtype;
    double low, high;
    int64_t count;
    if (!PyArg_ParseTuple(args, "LLLdd", &address, &numel, &dtype, &low, &high)) return NULL;
    struct job job = {address, numel, dtype, READ, 0, 0};
    if (!sound(&job)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    count = outside(&job, low, high);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(count);
}

static PyObject *copies(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[4], count;
    if (integers(args, given, 4, in) < 0) return NULL;
    struct job job = {in[0], in[2] * in[3], in[1], READ, 0, 0};
    if (!sound(&job)) return NULL;
    const void *x = (const void *)(intptr_t)in[0];
    Py_BEGIN_ALLOW_THREADS
    count = copied_rows(x, size_of(in[1]), (size_t)in[2], (size_t)in[3]);
    Py_END_ALLOW_THREADS
    return count < 0 ? PyErr_NoMemory() : PyLong_FromLongLong(count);
}

static int batch(PyObject *const *args, Py_ssize_t given, Py_ssize_t expected, int64_t *in, struct batch *out) {
    if (integers(args, given, expected, in) < 0) return -1;
    *out = (struct batch){in[0], in[1], in[2], in[3], in[4], in[5]};
    if (size_of_batch(in[1]) && in[0] && in[2] > 0 && in[4] > 0 && in[3] >= 0 && in[5] >= 0) return 0;
    PyErr_SetString(PyExc_ValueError, "expected samples and positions of a known dtype");
    return -1;
}

static PyObject *spread_of(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[6];
    struct batch b;
    return batch(args, given, 6, in, &b) < 0 ? NULL : PyFloat_FromDouble(spread(&b));
}

static PyObject *fingerprint_of(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    int64_t in[9];
    struct batch b;
    if (batch(args, given, 9, in, &b) < 0) return NULL;
    return PyLong_FromLongLong(fingerprint(&b, (const int64_t *)(intptr_t)in[6], (const int64_t *)(intptr_t)in[7],
                                           (int64_t *)(intptr_t)in[8]));
}

#define FAST(function) ((PyCFunction)(void (*)(void))function)

PyMethodDef tensor_methods[] = {
    {"instruction_sets", instruction_sets, METH_NOARGS, "Those of this processor, the best last."},
    {"use", use, METH_O, "use(name): takes one of instruction_sets() instead of the best."},
    {"statistics", FAST(statistics), METH_FASTCALL,
     "statistics(address, numel, dtype, histogram): the eight FIELDS; adds to int64 counts at histogram unless 0."},
    {"run", FAST(run), METH_FASTCALL,
     "run(jobs, count, results): rows of six int64 (address, numel, dtype, operation, other, histogram) give rows of "
     "eight float64."},
    {"look", FAST(look_at), METH_FASTCALL,
     "look(site, address, histogram): fills a struct site (tensors_site.h) from the tensor at an address."},
    {"alive", FAST(alive), METH_FASTCALL,
     "alive(address, dtype, outer, units, inner): bytes, for each unit 1 where an element is not zero, else 0; "
     "None where all have one."},
    {"silent", FAST(silent), METH_FASTCALL,
     "silent(flags, counts, units, most): adds 1 to the int32 counts of units whose flag is 0, sets the others to 0; "
     "units that have reached the most."},
    {"outside", count_outside, METH_VARARGS, "outside(address, numel, dtype, low, high): elements beyond the two."},
    {"copies", FAST(copies), METH_FASTCALL, "copies(address, dtype, rows, columns): rows that equal an earlier one."},
    {"spread", FAST(spread_of), METH_FASTCALL,
     "spread(address, type, samples, apart, positions, step): standard deviation over samples."},
    {"fingerprint", FAST(fingerprint_of), METH_FASTCALL,
     "fingerprint(address, type, samples, apart, positions, step, across, down, result): of each sample in result, of "
     "all returned."},
    {NULL, NULL, 0, NULL},
};

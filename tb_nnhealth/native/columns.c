/* Scanning, and the columns of plain events, for Python. All but short work gives the interpreter's lock away. */
#include "core.h"

#include <stdlib.h>

#include "framing.h"
#include "plain.h"

static const char COLUMNS[] = "tb_nnhealth.columns";

static void free_columns(PyObject *capsule) {
    Columns *columns = PyCapsule_GetPointer(capsule, COLUMNS);
    if (!columns) return;
    tags_free(&columns->tags);
    free(columns->points);
    free(columns->tables);
    free(columns);
}

static PyObject *new_columns(PyObject *module, PyObject *none) {
    Columns *columns = calloc(1, sizeof *columns);
    if (!columns) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(columns, COLUMNS, free_columns);
    if (!capsule) free(columns);
    return capsule;
}

static Columns *columns_of(PyObject *capsule) {
    Columns *columns = PyCapsule_GetPointer(capsule, COLUMNS);
    if (columns && columns->busy) {
        PyErr_SetString(PyExc_RuntimeError, "columns: expected one thread at a time, found another one at work");
        return NULL;
    }
    return columns;
}

static PyObject *own(PyObject *module, PyObject *args) {
    PyObject *capsule;
    const char *name;
    Py_ssize_t length;
    int owner;
    Shape shape = {0};
    unsigned long long type = 0, sizes[3] = {0};
    if (!PyArg_ParseTuple(args, "Oy#i|KiKKK", &capsule, &name, &length, &owner, &type, &shape.rank, &sizes[0], &sizes[1],
                          &sizes[2]))
        return NULL;
    Columns *columns = columns_of(capsule);
    if (!columns) return NULL;
    Slice tag = {(const uint8_t *)name, (uint64_t)length};
    uint32_t number = tags_find(&columns->tags, tag);
    if (number == NO_TAG && (number = tags_add(&columns->tags, tag, OTHER)) == NO_TAG) return PyErr_NoMemory();
    shape.type = type;
    for (int i = 0; i < 3; i++) shape.sizes[i] = sizes[i];
    columns->tags.all[number].owner = (Owner)owner;
    columns->tags.all[number].shape = shape;
    return PyLong_FromUnsignedLong(number);
}

static PyObject *tags_from(PyObject *module, PyObject *args) {
    PyObject *capsule;
    unsigned int first;
    if (!PyArg_ParseTuple(args, "OI", &capsule, &first)) return NULL;
    Columns *columns = columns_of(capsule);
    if (!columns) return NULL;
    PyObject *names = PyList_New(0);
    for (uint32_t number = first; names && number < columns->tags.count; number++) {
        const Tag *tag = &columns->tags.all[number];
        PyObject *name = PyBytes_FromStringAndSize(tag->name, (Py_ssize_t)tag->length);
        if (!name || PyList_Append(names, name) < 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

/* Goes on to the next event that is no plain one, or to what ends the scan. */
static Outcome run(Columns *columns, Scan *scan, Slice *record, int *no_memory) {
    for (;;) {
        Outcome outcome = next_record(scan, record);
        if (outcome != RECORD || !columns) return outcome;
        Taken taken = take_plain(columns, *record, scan->chunk);
        if (taken == PLAIN) continue;
        *no_memory = taken == NO_MEMORY;
        return RECORD;
    }
}

static PyObject *scan(PyObject *module, PyObject *args) {
    PyObject *capsule;
    unsigned long long address;
    long long length, at, left, limit;
    if (!PyArg_ParseTuple(args, "OKLLLL", &capsule, &address, &length, &at, &left, &limit)) return NULL;
    if (at < 0 || at > length || left < length || limit < 0) {
        PyErr_SetString(PyExc_ValueError, "scan: expected 0 <= at <= length <= left, and a limit");
        return NULL;
    }
    Columns *columns = NULL;
    if (capsule != Py_None && !(columns = columns_of(capsule))) return NULL;
    Scan scan = {(const uint8_t *)(uintptr_t)address, (uint64_t)length, (uint64_t)at, (uint64_t)left, (uint64_t)limit};
    Slice record = {scan.chunk, 0};
    Outcome outcome;
    int no_memory = 0;
    if (length - at < WORTH_RELEASING) {
        outcome = run(columns, &scan, &record, &no_memory);
    } else {
        if (columns) columns->busy = 1;
        Py_BEGIN_ALLOW_THREADS
        outcome = run(columns, &scan, &record, &no_memory);
        Py_END_ALLOW_THREADS
        if (columns) columns->busy = 0;
    }
    if (no_memory) return PyErr_NoMemory();
    long long start = outcome == RECORD ? record.data - scan.chunk : 0;
    unsigned long long points = columns ? columns->point_count : 0, tables = columns ? columns->table_count : 0;
    unsigned int tags = columns ? columns->tags.count : 0;
    return Py_BuildValue("iLLKKKI", (int)outcome, (long long)scan.at, start, (unsigned long long)record.length, points, tables,
                         tags);
}

/* --- what the columns hold ---------------------------------------------------------------------------------------- */

enum { NUMBERS = 4 };

/* A tuple of `count` bytes objects; `out` are their buffers, which no other thread knows of yet. */
static PyObject *buffers(int count, const uint64_t *lengths, void **out) {
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple && i < count; i++) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)lengths[i]);
        if (!bytes || PyTuple_SetItem(tuple, i, bytes) < 0) {
            Py_CLEAR(tuple);
            break;
        }
        out[i] = PyBytes_AsString(bytes);
    }
    return tuple;
}

/* By tag, and within a tag in the order in which they came: how many each tag has, and the columns. */
static void sort_points(Columns *columns, int64_t *counts, int64_t *places, int64_t *steps, double *walls,
                        double *values) {
    uint32_t tags = columns->tags.count;
    for (uint32_t tag = 0; tag < tags; tag++) counts[tag] = 0;
    for (uint64_t i = 0; i < columns->point_count; i++) counts[columns->points[i].tag]++;
    int64_t place = 0;
    for (uint32_t tag = 0; tag < tags; tag++) {
        places[tag] = place;
        place += counts[tag];
    }
    for (uint64_t i = 0; i < columns->point_count; i++) {
        const Point *point = &columns->points[i];
        place = places[point->tag]++;
        steps[place] = point->step;
        walls[place] = point->wall;
        values[place] = point->value;
    }
    columns->point_count = 0;
}

static PyObject *take_points(PyObject *module, PyObject *capsule) {
    Columns *columns = columns_of(capsule);
    if (!columns) return NULL;
    uint64_t points = columns->point_count, tags = columns->tags.count, lengths[NUMBERS];
    void *out[NUMBERS];
    lengths[0] = 8 * tags;
    lengths[1] = lengths[2] = lengths[3] = 8 * points;
    int64_t *places = malloc((size_t)(8 * tags + 8));
    PyObject *taken = places ? buffers(NUMBERS, lengths, out) : PyErr_NoMemory();
    if (taken) {
        columns->busy = 1;
        Py_BEGIN_ALLOW_THREADS
        sort_points(columns, out[0], places, out[1], out[2], out[3]);
        Py_END_ALLOW_THREADS
        columns->busy = 0;
    }
    free(places);
    return taken;
}

static PyObject *take_tables(PyObject *module, PyObject *capsule) {
    Columns *columns = columns_of(capsule);
    if (!columns) return NULL;
    PyObject *taken =
        PyBytes_FromStringAndSize((const char *)columns->tables, (Py_ssize_t)(columns->table_count * sizeof(Table)));
    if (taken) columns->table_count = 0;
    return taken;
}

static PyObject *gather(PyObject *module, PyObject *args) {
    const char *places;
    Py_ssize_t places_length;
    unsigned long long address, out;
    long long length, each;
    if (!PyArg_ParseTuple(args, "KLy#LK", &address, &length, &places, &places_length, &each, &out)) return NULL;
    const char *chunk = (const char *)(uintptr_t)address;
    Py_ssize_t count = places_length / 8;
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t at;
        memcpy(&at, places + 8 * i, 8);
        if (each < 0 || at < 0 || at > length || each > length - at) {
            PyErr_SetString(PyExc_ValueError, "gather: expected places within the chunk");
            return NULL;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t at;
        memcpy(&at, places + 8 * i, 8);
        memcpy((char *)(uintptr_t)out + i * each, chunk + at, (size_t)each);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyMethodDef column_methods[] = {
    {"columns", new_columns, METH_NOARGS, "columns(): for the plain events of one run; for one thread at a time."},
    {"own", own, METH_VARARGS,
     "own(columns, tag, owner, type, rank, *sizes): whose a tag is: 0 anybody's, 1 a scalar, 2 a table of 4-byte "
     "elements of that TensorProto.dtype and shape (size 0: any). Returns the tag's number."},
    {"tags", tags_from, METH_VARARGS, "tags(columns, first): the tags met, as bytes, from that number on."},
    {"scan", scan, METH_VARARGS,
     "scan(columns or None, address, length, at, left, limit) of a chunk: (outcome, at, start, length, points, tables, "
     "tags); takes plain events into the columns on its way. events/scan.py says what the outcomes mean."},
    {"take_points", take_points, METH_O,
     "take_points(columns): (points of each tag, steps int64, walls float64, values float64), sorted by tag."},
    {"take_tables", take_tables, METH_O,
     "take_tables(columns): rows of seven 8-byte fields: tag, step, wall (float64), place of the elements in the chunk, "
     "three sizes."},
    {"gather", gather, METH_VARARGS,
     "gather(address, length, places, each, out): of a chunk the `each` bytes from every place (int64) on, to an address."},
    {NULL, NULL, 0, NULL},
};

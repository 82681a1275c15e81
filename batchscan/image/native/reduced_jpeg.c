/* JPEG -> grey levels at a half, a quarter or an eighth of its size, bit by bit as libjpeg's.

   Most of the time of a scan went into Huffman codes of coefficients that a reduced image hardly
   needs. libjpeg decodes them one by one; here a look into a table takes two of them where some of
   their values count, and as many as fit at an eighth, where only the first coefficient of a block
   does.

   This is a short cut and no decoder of its own. It either returns exactly the pixels that libjpeg
   (libjpeg-turbo, as in Pillow) makes of a file, or None, and then Pillow is asked. It takes only
   sound files of the most frequent kinds: Huffman-coded, of 8 bits; in one scan that ends with the
   end mark, grey or with chroma that is neutral throughout; or progressive and grey, at an eighth.
   Whatever else is in a file, damage above all, is left to Pillow, and so are all errors. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdlib.h>

#include "passes.h"
#include "pixels.h"
#include "progressive.h"

enum {
    PADDING = 1024,       /* Ones behind the codes: more than a unit of blocks can take. */
    MOST_CODES = 1 << 28, /* Bytes: places of bits must stay within 32 bits. */
    MOST_SLOTS = 1 << 19  /* There is memory for so many. */
};

#ifndef SHORTEST
#define SHORTEST (1 << 13) /* Bytes that are worth cutting. Fuzzing takes less. */
#endif

/* The codes between two marks, without the zeros that follow each byte of ones. */
typedef struct {
    uint8_t *bytes; /* Room for the rest of the file, and PADDING. */
    size_t length;
} Stretch;

/* Where pixels go: the blocks of an image, of `side` x `side` pixels each. */
typedef struct {
    uint8_t *pixels;
    size_t side, stride;
    size_t units_across, units_down;
} Canvas;

/* Everything a file needs while it is decoded. Tables, and what has room for `slots`, are kept for the
   next file. */
typedef struct {
    Header header;
    Tables tables;
    Stretch stretch;
    Canvas canvas;
    int16_t *values; /* The first coefficients of a progressive image. */
    Sections sections;
    size_t slots, numbers;
    Pass passes[PASSES];
} Room;

/* Add the codes up to the next mark; returns where it is, NULL if there is none. */
static const uint8_t *add_codes(Stretch *stretch, const uint8_t *from, const uint8_t *end)
{
    for (;;) {
        const uint8_t *ones = memchr(from, 0xFF, (size_t)(end - from));
        size_t length;
        if (ones == NULL || end - ones < 2)
            return NULL;
        length = (size_t)(ones - from) + (ones[1] == 0);
        memcpy(stretch->bytes + stretch->length, from, length);
        stretch->length += length;
        if (ones[1] != 0)
            return ones;
        from = ones + 2;
    }
}

/* Add the next stretch, which must end with the right mark: RSTn, or EOI behind the last. */
static const uint8_t *add_marked(Stretch *stretch, const uint8_t *from, const uint8_t *end,
                                 size_t number, int is_last)
{
    const uint8_t *mark = add_codes(stretch, from, end);
    if (mark == NULL || mark[1] != (is_last ? 0xD9 : 0xD0 + (int)(number & 7)))
        return NULL;
    return mark + 2;
}

/* Add ones, of which no code is made. */
static void add_padding(Stretch *stretch)
{
    memset(stretch->bytes + stretch->length, 0xFF, PADDING);
}

/* Sound codes are never read beyond it: they end before, and bits are taken eight bytes ahead. */
INLINE const uint8_t *limit_of(const Stretch *stretch)
{
    return stretch->bytes + stretch->length + 16;
}

/* Say whether only the last byte's rest is left. */
INLINE int ends_there(Bits in, const Stretch *stretch)
{
    size_t used = (size_t)(in.next - stretch->bytes) * 8 - in.count;
    return used <= stretch->length * 8 && stretch->length * 8 - used < 8;
}

/* The blocks of a batch that are there already, and where their pixels go. */
typedef struct {
    Batch batch;
    Pixels pixels;
    uint8_t *to[LANES];
    int count;
} Waiting;

/* Transform what waits; returns 0 if it is as of a sound file. */
INLINE uint32_t finish_waiting(Waiting *waiting, const Tables *tables, size_t stride, int shift)
{
    const size_t side = (size_t)pixels_of(shift);
    Lanes made[MOST_NUMBERS];
    uint32_t any = 0;
    transform(&waiting->batch, 0, tables->scale, shift, made);
    finish(&waiting->pixels, made, tables->scale[0], shift);
    for (int lane = 0; lane < waiting->count; ++lane) {
        for (size_t y = 0; y < side; ++y)
            for (size_t x = 0; x < side; ++x)
                waiting->to[lane][y * stride + x] = waiting->pixels.of[side * y + x][lane];
        any |= waiting->pixels.excess.of[lane];
    }
    memset(&waiting->batch, 0, sizeof waiting->batch);
    waiting->count = 0;
    return any;
}

/* Decode `units` minimum coded units of a stretch, from number `start` of the image on; 0 unless
   they are sound and end where the stretch does. */
INLINE int decode_units(const Room *room, int shift, size_t start, size_t units)
{
    const Header *header = &room->header;
    const Tables *tables = &room->tables;
    const Canvas *canvas = &room->canvas;
    const Codes *dc = &tables->dc, *ac = &tables->ac;
    const uint8_t *limit = limit_of(&room->stretch);
    const size_t side = canvas->side, stride = canvas->stride;
    const size_t across = (size_t)header->across * side, down = (size_t)header->down * side;
    size_t column = start % canvas->units_across;
    uint8_t *corner = canvas->pixels + start / canvas->units_across * down * stride;
    Bits in = {.next = room->stretch.bytes};
    Waiting waiting = {0};
    uint32_t excess = 0;
    int value = 0;
    for (; units; --units) {
        for (size_t y = 0; y < down; y += side) {
            for (size_t x = 0; x < across; x += side) {
                uint8_t *to = corner + y * stride + column * across + x;
                Read read = read_first(refilled(in), tables->first, dc, &value);
                if (UNLIKELY(read.place < 0 || !is_sound_first(value)))
                    return 0;
                if (shift == EIGHTH) {
                    *to = pixel((value * tables->scale[0] + 4) >> 3, &excess);
                    read = read_skips(read.in, tables->skip, tables->single, ac);
                } else {
                    waiting.to[waiting.count] = to;
                    waiting.pixels.first[waiting.count] = value;
                    read = read_pairs(read.in, tables->pair, tables->single, ac,
                                      waiting.batch.of[0] + waiting.count);
                    if (++waiting.count == LANES)
                        excess |= finish_waiting(&waiting, tables, stride, shift);
                }
                in = read.in;
                if (UNLIKELY(read.place < 0 || in.next > limit))
                    return 0;
            }
        }
        if (tables->neutral_bits) {
            in = refilled(in);
            if (UNLIKELY(peek(in, tables->neutral_bits) != tables->neutral))
                return 0;
            in = without(in, (uint64_t)tables->neutral_bits);
        }
        if (++column == canvas->units_across) {
            column = 0;
            corner += down * stride;
        }
    }
    if (waiting.count)
        excess |= finish_waiting(&waiting, tables, stride, shift);
    return excess == 0 && ends_there(in, &room->stretch);
}

/* Decode all sections of a grey image. */
INLINE int decode_sections(Room *room, int shift, void (*add)(Pass *, const Source *))
{
    const Canvas *canvas = &room->canvas;
    const Tables *tables = &room->tables;
    Sections *sections = &room->sections;
    const Source source = {tables, sections, sections->bytes, sections->starts, add};
    return read_sections(room->passes, &source, shift) &&
           has_blocks(sections, canvas->units_across * canvas->units_down) &&
           store(sections, tables, (Cursor){canvas->pixels, 0, canvas->units_across}, shift);
}

typedef struct {
    int (*units)(const Room *, int, size_t, size_t);
    int (*sections)(Room *, int);
} Decoders;

/* Both ways to decode, for processors that have at least what `attribute` says. */
#define DECODERS(name, attribute)                                                              \
    attribute static void halves_##name(Pass *pass, const Source *source)                      \
    {                                                                                          \
        add_up(pass, source, HALF);                                                            \
    }                                                                                          \
    attribute static void quarters_##name(Pass *pass, const Source *source)                    \
    {                                                                                          \
        add_up(pass, source, QUARTER);                                                         \
    }                                                                                          \
    attribute static int units_##name(const Room *room, int shift, size_t start, size_t units) \
    {                                                                                          \
        return shift == HALF      ? decode_units(room, HALF, start, units)                     \
               : shift == QUARTER ? decode_units(room, QUARTER, start, units)                  \
                                  : decode_units(room, EIGHTH, start, units);                  \
    }                                                                                          \
    attribute static int sections_##name(Room *room, int shift)                                \
    {                                                                                          \
        return shift == HALF      ? decode_sections(room, HALF, halves_##name)                 \
               : shift == QUARTER ? decode_sections(room, QUARTER, quarters_##name)            \
                                  : decode_sections(room, EIGHTH, NULL);                       \
    }                                                                                          \
    static const Decoders decoders_##name = {units_##name, sections_##name};

DECODERS(anywhere, )
static Decoders decode;

#if defined(__GNUC__) && defined(__x86_64__)
/* They shift by any register, and compute eight numbers at once (2013). */
DECODERS(avx2, __attribute__((target("avx2,bmi,bmi2"))))
#endif

static void choose_decoders(void)
{
    decode = decoders_anywhere;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        decode = decoders_avx2;
#endif
}

/* Decode a scan stretch by stretch; 0 unless it is sound, with each mark in its place. */
static int decode_one_by_one(Room *room, int shift, const uint8_t *from, const uint8_t *end,
                             size_t units, size_t interval)
{
    for (size_t start = 0, number = 0; start < units; start += interval, ++number) {
        size_t count = units - start < interval ? units - start : interval;
        room->stretch.length = 0;
        from = add_marked(&room->stretch, from, end, number, start + count == units);
        if (from == NULL)
            return 0;
        add_padding(&room->stretch);
        if (!decode.units(room, shift, start, count))
            return 0;
    }
    return 1;
}

/* Make room for `count` sections of at most `most` blocks; 0 for an image in colour, and if that, or
   what is left of the file, is too much. */
static int make_room(Room *room, size_t rest, size_t count, size_t most)
{
    Sections *sections = &room->sections;
    const size_t each = (most + SPARE + RING - 1) / RING * RING, slots = RING + count * each;
    const int shift = room->tables.shift;
    const size_t numbers = shift == EIGHTH ? 0 : slots / LANES * numbers_of(shift);
    if (room->header.components > 1 || rest > MOST_CODES || slots > MOST_SLOTS)
        return 0;
    if (room->slots < slots) {
        free(sections->starts);
        sections->starts = malloc(slots * sizeof *sections->starts);
        room->slots = sections->starts ? slots : 0;
    }
    if (room->numbers < numbers) {
        free(sections->made);
        sections->made = malloc(numbers * sizeof *sections->made);
        room->numbers = sections->made ? numbers : 0;
    }
    sections->of = calloc(count, sizeof *sections->of);
    if (sections->of == NULL || room->slots < slots || room->numbers < numbers)
        return 0;
    for (size_t index = 0; index < count; ++index) {
        sections->of[index].slot = RING + index * each;
        sections->of[index].most = most;
    }
    sections->count = count;
    return 1;
}

/* Decode the sections of a stretch. */
static int decode_together(Room *room, int shift, int is_cut)
{
    Sections *sections = &room->sections;
    add_padding(&room->stretch);
    sections->bytes = room->stretch.bytes;
    sections->length = room->stretch.length;
    sections->is_cut = is_cut;
    sections->is_damaged = 0;
    return decode.sections(room, shift);
}

/* Decode a scan between whose sections there are marks. There is room for them. */
static int decode_marked(Room *room, int shift, const uint8_t *from, const uint8_t *end,
                         size_t units, size_t interval)
{
    const Sections *sections = &room->sections;
    const size_t last = sections->count - 1;
    room->stretch.length = 0;
    for (size_t number = 0; number <= last; ++number) {
        Section *section = sections->of + number;
        section->from = room->stretch.length;
        from = add_marked(&room->stretch, from, end, number, number == last);
        if (from == NULL)
            return 0;
        section->end = room->stretch.length;
    }
    sections->of[last].most = units - last * interval;
    return decode_together(room, shift, 0);
}

/* Decode a scan that is one stretch, cut into sections. There is room for them. */
static int decode_cut(Room *room, int shift)
{
    const size_t length = room->stretch.length / PASSES;
    for (size_t number = 0; number < PASSES; ++number) {
        Section *section = room->sections.of + number;
        section->from = length * number;
        section->end = section->from + length;
        section->is_guess = number > 0;
    }
    room->sections.of[PASSES - 1].end = room->stretch.length - BYTES;
    return decode_together(room, shift, 1);
}

/* Decode a scan that is one stretch. */
static int decode_whole(Room *room, int shift, const uint8_t *from, const uint8_t *end,
                        size_t units)
{
    Stretch *stretch = &room->stretch;
    stretch->length = 0;
    if (add_marked(stretch, from, end, 0, 1) == NULL)
        return 0;
    if (stretch->length >= SHORTEST && make_room(room, (size_t)(end - from), PASSES, units) &&
        decode_cut(room, shift))
        return 1;
    add_padding(stretch);
    return decode.units(room, shift, 0, units);
}

/* Decode all of a scan. */
static int decode_scan(Room *room, int shift, const uint8_t *from, const uint8_t *end)
{
    const size_t units = room->canvas.units_across * room->canvas.units_down;
    const size_t interval =
        room->header.restart_interval ? (size_t)room->header.restart_interval : units;
    const size_t count = (units + interval - 1) / interval;
    if (count > 1 && interval < LANES)
        return 0; /* libjpeg is as fast: all here is made for longer stretches. */
    if (count >= PASSES && make_room(room, (size_t)(end - from), count, interval))
        return decode_marked(room, shift, from, end, units, interval);
    if (count == 1)
        return decode_whole(room, shift, from, end, units);
    return decode_one_by_one(room, shift, from, end, units, interval);
}

/* Return the next mark: two bytes of which the first is all ones and the second is not 0. */
static const uint8_t *next_mark(const uint8_t *from, const uint8_t *end)
{
    while (from < end && (from = memchr(from, 0xFF, (size_t)(end - from))) != NULL) {
        if (end - from < 2)
            return NULL;
        if (from[1] != 0)
            return from;
        from += 2;
    }
    return NULL;
}

/* Decode a scan of first coefficients, up to the `mark` behind it. */
static int decode_first(Room *room, const Scan *scan, const uint8_t *from, const uint8_t *mark)
{
    const size_t count = room->canvas.units_across * room->canvas.units_down;
    const Codes *dc = &room->header.dc[room->header.component[0].dc_table];
    Stretch *stretch = &room->stretch;
    Read read = {.in.next = stretch->bytes};
    stretch->length = 0;
    add_codes(stretch, from, mark + 2);
    add_padding(stretch);
    if (scan->high)
        return refine_all(stretch->bytes, stretch->length, scan->low, room->values, count);
    room->tables.filled = NOTHING; /* They are overwritten. */
    fill_singles(room->tables.first, dc, MOST_BITS_DC);
    read = read_all_first(read.in, room->tables.first, dc, scan->low, room->values, count,
                          limit_of(stretch));
    return read.place >= 0 && ends_there(read.in, stretch);
}

/* Decode all scans of a progressive image, from the first on; 0 unless they are as they should. */
static int decode_progressive(Room *room, Segment segment, const uint8_t *end)
{
    Header *header = &room->header;
    const size_t count = room->canvas.units_across * room->canvas.units_down;
    const int table = header->component[0].quantization_table;
    const int32_t scale = header->quantization[table][0]; /* Later tables do not count. */
    Progress progress;
    uint32_t excess = 0;
    for (int index = 0; index < BLOCK; ++index)
        progress.of[index] = NOT_SEEN;
    while (segment.from) {
        const uint8_t *from = segment.from + segment.length, *mark = next_mark(from, end);
        Scan scan;
        if (mark == NULL || header->restart_interval || !header->has_quantization[table] ||
            !read_progressive_scan(header, &segment, &scan) || !advance(&progress, &scan) ||
            (scan.first == 0 && !decode_first(room, &scan, from, mark)) ||
            !read_to_scan(header, mark, end, &segment))
            return 0;
    }
    for (size_t block = 0; block < count; ++block)
        room->canvas.pixels[block] = pixel((room->values[block] * scale + 4) >> 3, &excess);
    return is_complete(&progress) && excess == 0;
}

/* Lay out the canvas; 0 for more blocks than the file can hold: each takes a bit at least. */
static int lay_out(Room *room, int shift, size_t codes)
{
    const Header *header = &room->header;
    Canvas *canvas = &room->canvas;
    const size_t across = (size_t)header->across, down = (size_t)header->down;
    canvas->side = (size_t)8 >> shift;
    canvas->units_across = ((size_t)header->width + 8 * across - 1) / (8 * across);
    canvas->units_down = ((size_t)header->height + 8 * down - 1) / (8 * down);
    canvas->stride = canvas->units_across * across * canvas->side;
    return canvas->units_across * canvas->units_down * across * down <= codes * 8;
}

/* Decode a file to `room->canvas.pixels`; 0 if it is left to others, also for want of memory. */
static int reduce_file(Room *room, const uint8_t *data, size_t length, int shift)
{
    Header *header = &room->header;
    Canvas *canvas = &room->canvas;
    const uint8_t *end = data + length, *codes;
    Segment scan;
    if (!read_header(header, data, length, &scan))
        return 0;
    codes = scan.from + scan.length;
    if (!lay_out(room, shift, (size_t)(end - codes)))
        return 0;
    room->stretch.bytes = malloc((size_t)(end - codes) + PADDING);
    canvas->pixels =
        malloc(canvas->stride * canvas->units_down * (size_t)header->down * canvas->side);
    if (room->stretch.bytes == NULL || canvas->pixels == NULL)
        return 0;
    if (header->is_progressive) {
        if (shift != EIGHTH || header->components != 1)
            return 0;
        room->values = malloc(canvas->units_across * canvas->units_down * sizeof *room->values);
        return room->values && decode_progressive(room, scan, end);
    }
    return read_scan(header, scan.from, scan.length) && fill_tables(&room->tables, header, shift) &&
           decode_scan(room, shift, codes, end);
}

/* Return width, height and pixels of what the canvas holds of the image. */
static PyObject *result(const Room *room)
{
    const Canvas *canvas = &room->canvas;
    const size_t width = ((size_t)room->header.width * canvas->side + 7) / 8;
    const size_t height = ((size_t)room->header.height * canvas->side + 7) / 8;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(width * height));
    char *to = bytes ? PyBytes_AsString(bytes) : NULL;
    if (to == NULL)
        return NULL;
    for (size_t row = 0; row < height; ++row)
        memcpy(to + row * width, canvas->pixels + row * canvas->stride, width);
    return Py_BuildValue("(nnN)", (Py_ssize_t)width, (Py_ssize_t)height, bytes);
}

/* Room for one file that nobody uses; whoever holds Python's lock may take it. */
static Room *spare = NULL;

static Room *take_room(void)
{
    Room *room = spare;
    spare = NULL;
    return room ? room : calloc(1, sizeof *room);
}

static void give_back(Room *room)
{
    if (room == NULL)
        return;
    free(room->stretch.bytes);
    free(room->canvas.pixels);
    free(room->sections.of);
    free(room->values);
    room->stretch.bytes = NULL;
    room->canvas.pixels = NULL;
    room->sections.of = NULL;
    room->values = NULL;
    if (spare == NULL) {
        spare = room;
    } else {
        free(room->sections.starts);
        free(room->sections.made);
        free(room);
    }
}

static PyObject *reduce(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *data, *found = NULL; /* Only bytes: nobody changes them meanwhile. */
    Room *room;
    int shift, is_done = 0;
    if (!PyArg_ParseTuple(arguments, "Si:reduce", &data, &shift))
        return NULL;
    if (shift < HALF || shift > EIGHTH)
        return PyErr_Format(PyExc_ValueError, "shift is 1, 2 or 3, found %d", shift);
    room = take_room();
    if (room) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AsString(data);
        size_t length = (size_t)PyBytes_Size(data);
        Py_BEGIN_ALLOW_THREADS
        is_done = reduce_file(room, bytes, length, shift);
        Py_END_ALLOW_THREADS
    }
    found = is_done ? result(room) : NULL;
    give_back(room);
    if (found)
        return found;
    PyErr_Clear(); /* Where memory is short, Pillow may need less. */
    Py_RETURN_NONE;
}

static PyObject *plain_sides(PyObject *Py_UNUSED(module), PyObject *data)
{
    Header header;
    Segment scan;
    if (!PyBytes_Check(data))
        return PyErr_Format(PyExc_TypeError, "expected bytes");
    if (!read_header(&header, (const uint8_t *)PyBytes_AsString(data), (size_t)PyBytes_Size(data),
                     &scan) ||
        !is_plain(&header))
        Py_RETURN_NONE;
    return Py_BuildValue("(ii)", header.width, header.height);
}

static int prepare(PyObject *Py_UNUSED(module))
{
    fill_places();
    choose_decoders();
    return 0;
}

static PyMethodDef methods[] = {
    {"reduce", reduce, METH_VARARGS,
     "reduce(data, shift, /)\n--\n\n"
     "Decode a JPEG at 1/2 (shift 1), 1/4 (2) or 1/8 (3) of its size to grey, as libjpeg does.\n\n"
     "Returns width, height and the grey levels, row by row; None if the file is to be decoded\n"
     "by libjpeg itself."},
    {"plain_sides", plain_sides, METH_O,
     "plain_sides(data, /)\n--\n\n"
     "Return width and height of a JPEG whose header says nothing more than `reduce` heeds.\n\n"
     "None if there is more in it, which may be about how the image is to be shown, or if it is\n"
     "none that `reduce` takes."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, prepare}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "reduced_jpeg", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_reduced_jpeg(void)
{
    return PyModuleDef_Init(&definition);
}

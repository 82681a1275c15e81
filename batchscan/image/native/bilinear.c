/* Grey levels -> a square of grey levels, bit by bit as Pillow's bilinear resize.

   Each pixel of the square is the mean of those around its centre, weighted by a triangle as wide as
   the picture is reduced: along the rows first, then, rounded to 8 bits, along the columns. Weights
   are whole numbers of 22 bits and sums are exact, so only the weights must be rounded as Pillow's.

   Sums of several pixels are computed together, and for that they have to lie side by side: so
   rows are taken sixteen at a time, and turned to columns before their pass and back behind it. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#define HAS_AVX2
#define AVX2 __attribute__((target("avx2")))
#endif

enum {
    LANES = 16, /* Pixels whose sums are computed together: a multiple of TILE. */
    TILE = 8,
    WEIGHT_BITS = 22,
    HALF = 1 << (WEIGHT_BITS - 1),
    MOST_SIZE = 1 << 14, /* Of the square: far more than a network takes, */
    MOST_SIDE = 1 << 24, /* and of the picture. */
};

/* What each pixel of one side of the square is made of: `taps` weights from pixel `first` on. Where
   fewer count, the rest are 0, and `first` is so small that none of them lies outside. */
typedef struct {
    int taps;
    int32_t *first;
    int32_t *weights;
} Filter;

/* A picture, what it becomes, and room for what lies between. */
typedef struct {
    const uint8_t *pixels;
    int width, height, size;
    Filter across, down;
    uint8_t *columns; /* A strip of LANES rows, turned: so many pixels for each column of it, */
    uint8_t *sums;    /* then for each column of the square. */
    uint8_t *rows;    /* The whole picture, as wide as the square. */
    uint8_t *square;
} Task;

/* Say what share each pixel from `first` on has in one at `centre`, to which pixels count that are less
   than `reach` away. */
static void fill_shares(double *share, int first, int end, double centre, double reach)
{
    double sum = 0;
    for (int pixel = first; pixel < end; ++pixel) {
        double distance = (pixel - centre + 0.5) * (1 / reach);
        distance = distance < 0 ? -distance : distance;
        share[pixel - first] = distance < 1 ? 1 - distance : 0;
        sum += share[pixel - first];
    }
    for (int pixel = first; pixel < end; ++pixel)
        share[pixel - first] /= sum;
}

/* Fill in the weights of one pixel of the square. */
static void fill_place(const Filter *filter, int place, int length, double centre, double reach,
                       double *share)
{
    const int low = (int)(centre - reach + 0.5), high = (int)(centre + reach + 0.5);
    const int first = low < 0 ? 0 : low, end = high > length ? length : high;
    const int start = first + filter->taps > length ? length - filter->taps : first;
    int32_t *weights = filter->weights + (size_t)place * (size_t)filter->taps;
    fill_shares(share, first, end, centre, reach);
    filter->first[place] = start;
    for (int pixel = first; pixel < end; ++pixel)
        weights[pixel - start] = (int32_t)(0.5 + share[pixel - first] * (1 << WEIGHT_BITS));
}

/* Fill the filter of one side, of `length` pixels, from `from` to `to`; 0 without memory. */
static int fill_filter(Filter *filter, int length, float from, float to, int size)
{
    const double step = (double)(to - from) / size, reach = step < 1 ? 1 : step;
    const int most = ((int)reach + ((int)reach < reach)) * 2 + 1;
    double *share = malloc((size_t)most * sizeof *share);
    int has_room;
    filter->taps = most < length ? most : length;
    filter->first = malloc((size_t)size * sizeof *filter->first);
    filter->weights = calloc((size_t)size * (size_t)filter->taps, sizeof *filter->weights);
    has_room = share && filter->first && filter->weights;
    for (int place = 0; has_room && place < size; ++place)
        fill_place(filter, place, length, from + (place + 0.5) * step, reach, share);
    free(share);
    return has_room;
}

/* Exchange parts of `distance` rows and columns that lie as far from the diagonal. */
INLINE void exchange(uint64_t *row, int distance, uint64_t mask)
{
    for (int pair = 0; pair < TILE / 2; ++pair) {
        int upper = pair / distance * 2 * distance + pair % distance, lower = upper + distance;
        uint64_t differing = ((row[upper] >> (8 * distance)) ^ row[lower]) & mask;
        row[upper] ^= differing << (8 * distance);
        row[lower] ^= differing;
    }
}

/* Turn rows of a tile, of 8 x 8 pixels, to columns. */
INLINE void turn_tile(const uint8_t *from, size_t from_stride, uint8_t *to, size_t to_stride)
{
    uint64_t row[TILE];
    for (int index = 0; index < TILE; ++index)
        memcpy(&row[index], from + (size_t)index * from_stride, TILE);
    exchange(row, 4, 0x00000000FFFFFFFF);
    exchange(row, 2, 0x0000FFFF0000FFFF);
    exchange(row, 1, 0x00FF00FF00FF00FF);
    for (int index = 0; index < TILE; ++index)
        memcpy(to + (size_t)index * to_stride, &row[index], TILE);
}

/* Turn `rows` rows (LANES at most) of `width` pixels to columns of LANES each. */
INLINE void turn_strip(const uint8_t *from, size_t rows, size_t width, uint8_t *to)
{
    size_t whole = rows == LANES ? width / TILE * TILE : 0;
    for (size_t x = 0; x < whole; x += TILE)
        for (size_t y = 0; y < LANES; y += TILE)
            turn_tile(from + y * width + x, width, to + x * LANES + y, LANES);
    for (size_t x = whole; x < width; ++x)
        for (size_t y = 0; y < rows; ++y)
            to[x * LANES + y] = from[y * width + x];
}

/* The same back again. */
INLINE void turn_back(const uint8_t *from, size_t rows, size_t width, uint8_t *to)
{
    size_t whole = rows == LANES ? width / TILE * TILE : 0;
    for (size_t x = 0; x < whole; x += TILE)
        for (size_t y = 0; y < LANES; y += TILE)
            turn_tile(from + x * LANES + y, LANES, to + y * width + x, width);
    for (size_t y = 0; y < rows; ++y)
        for (size_t x = whole; x < width; ++x)
            to[y * width + x] = from[x * LANES + y];
}

/* Sum LANES pixels side by side, from each of `taps` rows that lie `stride` apart. */
INLINE void sum_anywhere(const uint8_t *from, size_t stride, const int32_t *weights, int taps,
                         uint8_t *to)
{
    int32_t sums[LANES];
    for (int lane = 0; lane < LANES; ++lane)
        sums[lane] = HALF;
    for (int tap = 0; tap < taps; ++tap, from += stride)
        for (int lane = 0; lane < LANES; ++lane)
            sums[lane] += from[lane] * weights[tap];
    for (int lane = 0; lane < LANES; ++lane)
        to[lane] = (uint8_t)(sums[lane] >> WEIGHT_BITS);
}

#ifdef HAS_AVX2
INLINE AVX2 __m256i eight(const uint8_t *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* The same for processors that compute eight numbers at once: compilers do not find it. */
static inline AVX2 void sum_avx2(const uint8_t *from, size_t stride, const int32_t *weights,
                                 int taps, uint8_t *to)
{
    __m256i one = _mm256_set1_epi32(HALF), two = one, words;
    for (int tap = 0; tap < taps; ++tap, from += stride) {
        __m256i weight = _mm256_set1_epi32(weights[tap]);
        one = _mm256_add_epi32(one, _mm256_mullo_epi32(eight(from), weight));
        two = _mm256_add_epi32(two, _mm256_mullo_epi32(eight(from + LANES / 2), weight));
    }
    words = _mm256_packus_epi32(_mm256_srai_epi32(one, WEIGHT_BITS),
                                _mm256_srai_epi32(two, WEIGHT_BITS));
    words = _mm256_permute4x64_epi64(words, 0xD8); /* Halves are packed apart. */
    _mm_storeu_si128((__m128i *)to, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                     _mm256_extracti128_si256(words, 1)));
}
#else
#define sum_avx2 sum_anywhere
#endif

INLINE void sum_up(const uint8_t *from, size_t stride, const int32_t *weights, int taps,
                   uint8_t *to, int with_avx2)
{
    if (with_avx2)
        sum_avx2(from, stride, weights, taps, to);
    else
        sum_anywhere(from, stride, weights, taps, to);
}

INLINE void pass_across(const Task *task, int with_avx2)
{
    const Filter *filter = &task->across;
    for (int top = 0; top < task->height; top += LANES) {
        size_t rows = (size_t)(task->height - top < LANES ? task->height - top : LANES);
        turn_strip(task->pixels + (size_t)top * (size_t)task->width, rows, (size_t)task->width,
                   task->columns);
        for (int x = 0; x < task->size; ++x)
            sum_up(task->columns + (size_t)filter->first[x] * LANES, LANES,
                   filter->weights + (size_t)x * (size_t)filter->taps, filter->taps,
                   task->sums + (size_t)x * LANES, with_avx2);
        turn_back(task->sums, rows, (size_t)task->size,
                  task->rows + (size_t)top * (size_t)task->size);
    }
}

/* What is summed beyond the end of a row is overwritten by the next, and cut off behind the last. */
INLINE void pass_down(const Task *task, int with_avx2)
{
    const Filter *filter = &task->down;
    const size_t size = (size_t)task->size;
    for (size_t y = 0; y < size; ++y)
        for (size_t x = 0; x < size; x += LANES)
            sum_up(task->rows + (size_t)filter->first[y] * size + x, size,
                   filter->weights + y * (size_t)filter->taps, filter->taps,
                   task->square + y * size + x, with_avx2);
}

INLINE void pass_both(const Task *task, int with_avx2)
{
    pass_across(task, with_avx2);
    pass_down(task, with_avx2);
}

typedef void Passes(const Task *);

static void pass_anywhere(const Task *task)
{
    pass_both(task, 0);
}

static Passes *pass = pass_anywhere;

#ifdef HAS_AVX2
static AVX2 void pass_avx2(const Task *task)
{
    pass_both(task, 1);
}
#endif

static int choose_passes(PyObject *Py_UNUSED(module))
{
#ifdef HAS_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        pass = pass_avx2;
#endif
    return 0;
}

/* Fill `task->square`; 0 without memory. */
static int make_square(Task *task, const float *box)
{
    const size_t size = (size_t)task->size, height = (size_t)task->height;
    task->columns = calloc((size_t)task->width, LANES);
    task->sums = malloc(size * LANES);
    task->rows = calloc(size * height + LANES, 1);
    task->square = malloc(size * size + LANES);
    if (!task->columns || !task->sums || !task->rows || !task->square ||
        !fill_filter(&task->across, task->width, box[0], box[2], task->size) ||
        !fill_filter(&task->down, task->height, box[1], box[3], task->size))
        return 0;
    pass(task);
    return 1;
}

static void give_back(Task *task)
{
    free(task->columns);
    free(task->sums);
    free(task->rows);
    free(task->square);
    free(task->across.first);
    free(task->across.weights);
    free(task->down.first);
    free(task->down.weights);
}

static int is_inside(const Task *task, const float *box)
{
    return box[0] >= 0 && box[1] >= 0 && box[0] < box[2] && box[1] < box[3] &&
           box[2] <= (float)task->width && box[3] <= (float)task->height;
}

static PyObject *square(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *pixels, *found = NULL; /* Only bytes: nobody changes them meanwhile. */
    Task task = {0};
    float box[4];
    int is_done;
    if (!PyArg_ParseTuple(arguments, "S(ii)(ffff)i:square", &pixels, &task.width, &task.height,
                          &box[0], &box[1], &box[2], &box[3], &task.size))
        return NULL;
    if (task.width < 1 || task.height < 1 || task.size < 1 || task.size > MOST_SIZE ||
        task.width > MOST_SIDE || task.height > MOST_SIDE ||
        (uint64_t)task.size * (uint64_t)task.height > SIZE_MAX / 2 ||
        PyBytes_Size(pixels) / task.width != task.height ||
        PyBytes_Size(pixels) % task.width != 0 || !is_inside(&task, box))
        return PyErr_Format(PyExc_ValueError, "expected width x height bytes, a box in them, and "
                            "a size from 1 to %d", MOST_SIZE);
    task.pixels = (const uint8_t *)PyBytes_AsString(pixels);
    Py_BEGIN_ALLOW_THREADS
    is_done = make_square(&task, box);
    Py_END_ALLOW_THREADS
    if (is_done)
        found = PyBytes_FromStringAndSize((const char *)task.square,
                                          (Py_ssize_t)task.size * task.size);
    else
        PyErr_NoMemory();
    give_back(&task);
    return found;
}

static PyMethodDef methods[] = {
    {"square", square, METH_VARARGS,
     "square(pixels, sides, box, size, /)\n--\n\n"
     "Reduce or enlarge grey levels of width and height `sides` to `size` x `size` of them.\n\n"
     "`box` is what becomes the square: left, upper, right and lower edge, which may lie within\n"
     "pixels. Raises ValueError where these do not fit together, MemoryError without memory."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, choose_passes}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "bilinear", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_bilinear(void)
{
    return PyModuleDef_Init(&definition);
}

/* What stands before the codes of a JPEG: tables, size, and which of them the scan uses.

   "The standard" is ISO/IEC 10918-1. Nothing is taken that is not known here: each function returns
   0 for what is to be left to libjpeg, be it unusual, damaged or forbidden. */

#ifndef BATCHSCAN_HEADER_H
#define BATCHSCAN_HEADER_H

#include <stdint.h>
#include <string.h>

enum {
    BLOCK = 64,   /* Coefficients of a block. */
    LONGEST = 16, /* Bits of a Huffman code. */
    COMPONENTS = 3,
    LONGEST_SIDE = 65500, /* libjpeg refuses larger ones. */
    NOT_SEEN = -1
};

/* One table of Huffman codes (annex C of the standard): those of one length follow each other. */
typedef struct {
    int32_t first[LONGEST + 1];  /* The least code of each length. */
    int32_t last[LONGEST + 1];   /* The greatest, -1 if there is none. */
    int32_t offset[LONGEST + 1]; /* What to add to a code for its place in `values`. */
    uint8_t values[256];
    int is_defined;
} Codes;

typedef struct {
    int name, quantization_table, dc_table, ac_table;
} Component;

typedef struct {
    Codes dc[4], ac[4];
    uint8_t quantization[4][BLOCK]; /* In zigzag order. */
    int has_quantization[4];
    int width, height; /* Both 0 before the frame's header. */
    int components;    /* 1, grey, or 3, luma and chroma. */
    Component component[COMPONENTS];
    int across, down; /* Blocks of the first component in a minimum coded unit: 1 or 2. */
    int has_jfif, adobe_transform; /* What its makers' segments say; the second may be NOT_SEEN. */
    int restart_interval; /* In minimum coded units; 0: there are no restart marks. */
    int is_progressive;
    int has_more; /* There are segments that may tell of orientation, colours or pages. */
} Header;

/* The content of a scan's header; its codes follow behind it. Without it: the end mark. */
typedef struct {
    const uint8_t *from;
    size_t length;
} Segment;

static int two_bytes(const uint8_t *bytes)
{
    return bytes[0] << 8 | bytes[1];
}

/* Take the codes of the given lengths; 0 if there are more than there can be: the one of nothing but
   ones is not used (section C.2). */
static int define(Codes *codes, const uint8_t *lengths, const uint8_t *values, size_t count)
{
    int32_t code = 0, place = 0;
    for (int length = 1; length <= LONGEST; ++length) {
        codes->first[length] = code;
        codes->offset[length] = place - code;
        place += lengths[length - 1];
        code += lengths[length - 1];
        codes->last[length] = lengths[length - 1] ? code - 1 : -1;
        if (code >= (int32_t)1 << length)
            return 0;
        code <<= 1;
    }
    memcpy(codes->values, values, count);
    codes->is_defined = 1;
    return 1;
}

/* Section B.2.4.2: tables of codes. */
static int read_codes(Header *header, const uint8_t *from, size_t length)
{
    while (length >= 1 + LONGEST) {
        Codes *tables = from[0] >> 4 ? header->ac : header->dc;
        size_t count = 0;
        for (int place = 1; place <= LONGEST; ++place)
            count += from[place];
        if ((from[0] & 0xEF) > 3 || count > 256 || length < 1 + LONGEST + count)
            return 0;
        if (!define(&tables[from[0] & 3], from + 1, from + 1 + LONGEST, count))
            return 0;
        for (size_t place = 1 + LONGEST; tables == header->dc && place < 1 + LONGEST + count; ++place)
            if (from[place] > 15)
                return 0;
        from += 1 + LONGEST + count;
        length -= 1 + LONGEST + count;
    }
    return length == 0;
}

/* Section B.2.4.1: quantization tables, of 8 bits. */
static int read_quantization(Header *header, const uint8_t *from, size_t length)
{
    for (; length >= 1 + BLOCK; from += 1 + BLOCK, length -= 1 + BLOCK) {
        if (from[0] > 3)
            return 0;
        memcpy(header->quantization[from[0]], from + 1, BLOCK);
        header->has_quantization[from[0]] = 1;
    }
    return length == 0;
}

/* Section B.2.2: size and components, of 8 bits. Chroma must not be finer than luma. */
static int read_frame(Header *header, const uint8_t *from, size_t length)
{
    if (header->width || length < 9 || from[0] != 8)
        return 0;
    header->height = two_bytes(from + 1);
    header->width = two_bytes(from + 3);
    header->components = from[5];
    if (header->height < 1 || header->height > LONGEST_SIDE || header->width < 1 ||
        header->width > LONGEST_SIDE)
        return 0;
    if ((from[5] != 1 && from[5] != COMPONENTS) || length != 6 + 3 * (size_t)from[5])
        return 0;
    for (int number = 0; number < from[5]; ++number) {
        header->component[number].name = from[6 + 3 * number];
        header->component[number].quantization_table = from[8 + 3 * number];
        if (from[8 + 3 * number] > 3)
            return 0;
    }
    header->across = from[7] >> 4;
    header->down = from[7] & 15;
    if (header->across < 1 || header->across > 2 || header->down < 1 || header->down > 2)
        return 0;
    return from[5] == 1 ? from[7] == 0x11 : from[10] == 0x11 && from[13] == 0x11;
}

/* Segments of makers and applications, and comments. Two of them tell how colours are stored, as
   libjpeg reads them (ISO/IEC 10918-5, 10918-6). */
static void read_maker(Header *header, int marker, const uint8_t *from, size_t length)
{
    const int is_jfif = marker == 0xE0 && length >= 14 && memcmp(from, "JFIF", 5) == 0;
    header->has_jfif |= is_jfif;
    header->has_more |= !is_jfif && marker != 0xFE; /* COM */
    if (marker == 0xEE && length >= 12 && memcmp(from, "Adobe", 5) == 0)
        header->adobe_transform = from[11];
}

/* Say whether libjpeg takes three components for red, green and blue. */
static int is_red_green_blue(const Header *header)
{
    if (header->components != COMPONENTS || header->has_jfif)
        return 0;
    if (header->adobe_transform != NOT_SEEN)
        return header->adobe_transform == 0;
    return header->component[0].name == 'R' && header->component[1].name == 'G' &&
           header->component[2].name == 'B';
}

/* Say whether nobody else has to look at the header: grey, or luma and chroma under their usual names,
   with no segments but those that decoding needs, JFIF's and comments. */
static int is_plain(const Header *header)
{
    static const int usual[COMPONENTS] = {1, 2, 3};
    for (int number = 0; header->components == COMPONENTS && number < COMPONENTS; ++number)
        if (header->component[number].name != usual[number])
            return 0;
    return !header->has_more;
}

/* Section B.2.3: the one scan of a sequential image, with all components in their order. */
static int read_scan(Header *header, const uint8_t *from, size_t length)
{
    static const uint8_t whole[3] = {0, BLOCK - 1, 0};
    if (is_red_green_blue(header) || from[0] != header->components ||
        length != 4 + 2 * (size_t)header->components)
        return 0;
    for (int number = 0; number < header->components; ++number) {
        Component *component = &header->component[number];
        component->dc_table = from[2 + 2 * number] >> 4;
        component->ac_table = from[2 + 2 * number] & 15;
        if (from[1 + 2 * number] != component->name || component->dc_table > 3 ||
            component->ac_table > 3 || !header->dc[component->dc_table].is_defined ||
            !header->ac[component->ac_table].is_defined ||
            !header->has_quantization[component->quantization_table])
            return 0;
    }
    return memcmp(from + length - 3, whole, 3) == 0;
}

/* Read one segment that is no scan's. */
static int read_segment(Header *header, int marker, const uint8_t *from, size_t length)
{
    if (marker >= 0xC0 && marker <= 0xC2) { /* SOF0 to SOF2, with Huffman codes */
        header->is_progressive = marker == 0xC2;
        return read_frame(header, from, length);
    }
    if (marker == 0xC4) /* DHT */
        return read_codes(header, from, length);
    if (marker == 0xDB) /* DQT */
        return read_quantization(header, from, length);
    if (marker == 0xDD && length == 2) { /* DRI */
        header->restart_interval = two_bytes(from);
        return 1;
    }
    read_maker(header, marker, from, length);
    return (marker >= 0xE0 && marker <= 0xEF) || marker == 0xFE; /* APPn, COM */
}

/* Read segments up to the next scan's header, or to the end mark. */
static int read_to_scan(Header *header, const uint8_t *data, const uint8_t *end, Segment *scan)
{
    *scan = (Segment){NULL, 0};
    while (end - data >= 5 && data[0] == 0xFF && data[1] != 0xD9) { /* EOI */
        size_t length = (size_t)two_bytes(data + 2);
        Segment segment = {data + 4, length - 2};
        if (length < 3 || length > (size_t)(end - data) - 2)
            return 0;
        if (data[1] == 0xDA) { /* SOS */
            *scan = segment;
            return header->width != 0;
        }
        if (!read_segment(header, data[1], segment.from, segment.length))
            return 0;
        data = segment.from + segment.length;
    }
    return end - data >= 2 && data[0] == 0xFF && data[1] == 0xD9;
}

/* Read everything before the codes of the first scan. */
static int read_header(Header *header, const uint8_t *data, size_t length, Segment *scan)
{
    memset(header, 0, sizeof *header);
    header->adobe_transform = NOT_SEEN;
    return length >= 4 && data[0] == 0xFF && data[1] == 0xD8 &&
           read_to_scan(header, data + 2, data + length, scan) && scan->from != NULL;
}

#endif

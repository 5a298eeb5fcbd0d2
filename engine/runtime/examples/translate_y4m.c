/* Translates a video between two ffmpegs:
 *
 *     ffmpeg -i in.mp4 -f yuv4mpegpipe - | translate_y4m model.onnx | ffmpeg -i - out.mp4
 *
 * y4m is a line of text about the video, and for every frame a line "FRAME" and its planes, Y, Cb
 * and Cr. What comes out has the size and colour space of what came in: 4:2:0, 4:2:2, 4:4:4 or
 * grey, of 8 bits. Frames overlap: while one is translated, the next is read. A stream that ends in
 * the middle of a frame, or goes on with something else, is translated up to there, and reported
 * with a status other than 0. */
#include <cyclegan/cyclegan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 1024, HD_LINES = 720 };

typedef struct {
    const char *name, *of_ffmpeg;
    cyclegan_format format; /* what it is once Cb and Cr are one plane */
    int across, down;       /* pixels that a sample of chroma counts for */
    int planes;             /* of chroma in the stream: none of grey */
} ColourSpace;

static const ColourSpace spaces[] = {
    {"420jpeg", "yuv420p", CYCLEGAN_NV12, 2, 2, 2}, /* the first: of a stream that names none */
    {"420", "yuv420p", CYCLEGAN_NV12, 2, 2, 2},
    {"420mpeg2", "yuv420p", CYCLEGAN_NV12, 2, 2, 2},
    {"420paldv", "yuv420p", CYCLEGAN_NV12, 2, 2, 2},
    {"422", "yuv422p", CYCLEGAN_NV16, 2, 1, 2},
    {"444", "yuv444p", CYCLEGAN_NV24, 1, 1, 2},
    {"mono", "gray", CYCLEGAN_NV12, 2, 2, 0},
};

typedef struct {
    int width, height;
    int full_range;
    const ColourSpace *space;
    uint8_t *luma, *chroma, *plane; /* as the library takes them; one plane as y4m has it */
} Video;

static void stop(const char *what, const char *why) {
    fprintf(stderr, "translate_y4m: %s%s%s\n", what, *why ? ": " : "", why);
    exit(1);
}

static void check(cyclegan_status status, const cyclegan_translator *translator) {
    if (status != CYCLEGAN_OK) stop(cyclegan_status_string(status), cyclegan_last_error(translator));
}

static size_t luma_bytes(const Video *v) { return (size_t)v->width * v->height; }
static size_t chroma_width(const Video *v) {
    return (size_t)((v->width + v->space->across - 1) / v->space->across);
}
static size_t plane_bytes(const Video *v) {
    return chroma_width(v) * ((v->height + v->space->down - 1) / v->space->down);
}

/* 1 for a line, which is kept without its end; 0 where the stream ends before it begins; -1 where
 * the line does not end. */
static int read_line(char *line) {
    if (!fgets(line, LINE, stdin)) return 0;
    char *end = strchr(line, '\n');
    if (!end) return -1;
    *end = '\0';
    return 1;
}

static void *allocated(size_t size) {
    void *memory = malloc(size);
    if (!memory) stop("out of memory", "");
    return memory;
}

static const ColourSpace *space_named(const char *name) {
    const char *near = spaces->of_ffmpeg; /* such as "yuv422p" for "422p10" */
    char advice[LINE];
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; ++i) {
        if (!strcmp(spaces[i].name, name)) return &spaces[i];
        if (!strncmp(spaces[i].name, name, 3)) near = spaces[i].of_ffmpeg;
    }
    snprintf(advice, sizeof advice, "%.99s; give the first ffmpeg -pix_fmt %s", name, near);
    stop("the colour space is not 4:2:0, 4:2:2, 4:4:4 or grey of 8 bits", advice);
    return NULL;
}

static void allocate(Video *video) {
    video->luma = allocated(luma_bytes(video));
    video->chroma = allocated(2 * plane_bytes(video));
    memset(video->chroma, 128, 2 * plane_bytes(video)); /* no colour */
    video->plane = allocated(plane_bytes(video));
}

static Video read_header(char *header) {
    Video video;
    char line[LINE];
    int range = -1; /* not said */
    memset(&video, 0, sizeof video);
    video.space = spaces;
    const int found = read_line(header);
    if (found < 0) stop("the first line of the y4m stream does not end", "");
    if (!found || strncmp(header, "YUV4MPEG2 ", 10)) stop("this is no y4m stream", "");
    strcpy(line, header);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        if (*word == 'W') video.width = atoi(word + 1);
        if (*word == 'H') video.height = atoi(word + 1);
        if (*word == 'C') video.space = space_named(word + 1);
        if (!strcmp(word, "XCOLORRANGE=FULL")) range = 1;
        if (!strcmp(word, "XCOLORRANGE=LIMITED")) range = 0;
    }
    if (video.width < 1 || video.height < 1 || video.width > 16384 || video.height > 16384)
        stop("the video has no size that can be translated", header);
    video.full_range = range < 0 ? !video.space->planes : range; /* grey is full, as in ffmpeg */
    allocate(&video);
    return video;
}

static cyclegan_frame frame_of(const Video *video) {
    cyclegan_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.width = video->width;
    frame.height = video->height;
    frame.format = video->space->format;
    frame.matrix = video->height < HD_LINES ? CYCLEGAN_BT601 : CYCLEGAN_BT709; /* as players do */
    frame.full_range = video->full_range;
    frame.data[0] = video->luma;
    frame.data[1] = video->chroma;
    frame.stride[0] = (size_t)video->width;
    frame.stride[1] = 2 * chroma_width(video);
    return frame;
}

/* 1 for a frame, 0 at the end, -1 where the stream ends too early, -2 where `line` begins no frame.
 * Only the caller stops: a frame is in flight. */
static int read_frame(const Video *video, char *line) {
    const size_t chroma = plane_bytes(video);
    const int found = read_line(line);
    if (!found) return 0;
    if (found < 0 && feof(stdin)) return -1;
    if (found < 0 || strncmp(line, "FRAME", 5)) return -2;
    if (fread(video->luma, 1, luma_bytes(video), stdin) != luma_bytes(video)) return -1;
    for (int part = 0; part < video->space->planes; ++part) {
        if (fread(video->plane, 1, chroma, stdin) != chroma) return -1;
        for (size_t i = 0; i < chroma; ++i) video->chroma[2 * i + part] = video->plane[i];
    }
    return 1;
}

static void write_frame(const Video *video) {
    const size_t chroma = plane_bytes(video);
    fputs("FRAME\n", stdout);
    fwrite(video->luma, 1, luma_bytes(video), stdout);
    for (int part = 0; part < video->space->planes; ++part) {
        for (size_t i = 0; i < chroma; ++i) video->plane[i] = video->chroma[2 * i + part];
        fwrite(video->plane, 1, chroma, stdout);
    }
    if (ferror(stdout)) stop("cannot write", "");
}

int main(int count, char **arguments) {
    char header[LINE], line[LINE];
    cyclegan_translator *translator = NULL;
    cyclegan_settings settings;
    if (count != 2) stop("usage: translate_y4m MODEL < in.y4m > out.y4m", "");
    Video input = read_header(header), output = input;
    allocate(&output);
    check(cyclegan_default_settings(&settings, sizeof settings), NULL);
    settings.width = input.width;
    settings.height = input.height;
    check(cyclegan_open(&translator, arguments[1], &settings), NULL);
    printf("%s\n", header);

    const cyclegan_frame source = frame_of(&input), target = frame_of(&output);
    cyclegan_ticket ahead = 0, behind = 0; /* submitted last, and before that */
    int more;
    do {
        more = read_frame(&input, line);
        behind = ahead;
        ahead = 0;
        if (more == 1) check(cyclegan_submit(translator, &source, &ahead), translator);
        if (behind) {
            check(cyclegan_collect(translator, behind, &target), translator);
            write_frame(&output);
        }
    } while (more == 1);
    cyclegan_close(&translator);
    if (fflush(stdout)) stop("cannot write", "");
    if (more == -2) stop("expected a line FRAME in the y4m stream, got", line);
    if (more < 0) stop("the stream ends in the middle of a frame", "");
    return 0;
}

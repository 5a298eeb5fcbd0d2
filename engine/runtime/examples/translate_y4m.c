/* Translates a video between two ffmpegs:
 *
 *     ffmpeg -i in.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | translate_y4m model.onnx |
 *         ffmpeg -i - out.mp4
 *
 * y4m is a line of text about the video, and for every frame a line "FRAME" and its planes, Y, Cb
 * and Cr. Frames overlap: while one is translated, the next is read. A stream that ends in the
 * middle of a frame is translated up to there, and reported with a status other than 0. */
#include <cyclegan/cyclegan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 1024, HD_LINES = 720 };

typedef struct {
    int width, height;
    int full_range;
    uint8_t *luma, *chroma, *plane; /* NV12, and one plane of chroma as y4m has it */
} Video;

static void stop(const char *what, const char *why) {
    fprintf(stderr, "translate_y4m: %s%s%s\n", what, *why ? ": " : "", why);
    exit(1);
}

static void check(cyclegan_status status, const cyclegan_translator *translator) {
    if (status != CYCLEGAN_OK) stop(cyclegan_status_string(status), cyclegan_last_error(translator));
}

static size_t luma_bytes(const Video *v) { return (size_t)v->width * v->height; }
static size_t plane_bytes(const Video *v) {
    return (size_t)((v->width + 1) / 2) * ((v->height + 1) / 2);
}

/* A line without its end; 0 where the stream ends before it begins. */
static int read_line(char *line) {
    if (!fgets(line, LINE, stdin)) return 0;
    char *end = strchr(line, '\n');
    if (!end) stop("a line of the y4m stream does not end", "");
    *end = '\0';
    return 1;
}

static void *allocated(size_t size) {
    void *memory = malloc(size);
    if (!memory) stop("out of memory", "");
    return memory;
}

static Video read_header(char *header) {
    Video video;
    char line[LINE];
    memset(&video, 0, sizeof video);
    if (!read_line(header) || strncmp(header, "YUV4MPEG2 ", 10)) stop("this is no y4m stream", "");
    strcpy(line, header);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        if (*word == 'W') video.width = atoi(word + 1);
        if (*word == 'H') video.height = atoi(word + 1);
        if (!strcmp(word, "XCOLORRANGE=FULL")) video.full_range = 1;
        if (*word == 'C' && strcmp(word, "C420") && strcmp(word, "C420jpeg") &&
            strcmp(word, "C420mpeg2") && strcmp(word, "C420paldv"))
            stop("the video is not 4:2:0 with 8 bits; give ffmpeg -pix_fmt yuv420p", word);
    }
    if (video.width < 1 || video.height < 1 || video.width > 16384 || video.height > 16384)
        stop("the video has no size that can be translated", header);
    video.luma = allocated(luma_bytes(&video));
    video.chroma = allocated(2 * plane_bytes(&video));
    video.plane = allocated(plane_bytes(&video));
    return video;
}

static cyclegan_frame frame_of(const Video *video) {
    cyclegan_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.width = video->width;
    frame.height = video->height;
    frame.format = CYCLEGAN_NV12;
    frame.matrix = video->height < HD_LINES ? CYCLEGAN_BT601 : CYCLEGAN_BT709; /* as players do */
    frame.full_range = video->full_range;
    frame.data[0] = video->luma;
    frame.data[1] = video->chroma;
    frame.stride[0] = (size_t)video->width;
    frame.stride[1] = (size_t)(video->width + 1) / 2 * 2;
    return frame;
}

/* 1 for a frame, 0 at the end, -1 where the stream ends too early. */
static int read_frame(const Video *video) {
    char line[LINE];
    const size_t chroma = plane_bytes(video);
    if (!read_line(line)) return 0;
    if (strncmp(line, "FRAME", 5)) stop("expected FRAME in the y4m stream, got", line);
    if (fread(video->luma, 1, luma_bytes(video), stdin) != luma_bytes(video)) return -1;
    for (size_t part = 0; part < 2; ++part) {
        if (fread(video->plane, 1, chroma, stdin) != chroma) return -1;
        for (size_t i = 0; i < chroma; ++i) video->chroma[2 * i + part] = video->plane[i];
    }
    return 1;
}

static void write_frame(const Video *video) {
    const size_t chroma = plane_bytes(video);
    fputs("FRAME\n", stdout);
    fwrite(video->luma, 1, luma_bytes(video), stdout);
    for (size_t part = 0; part < 2; ++part) {
        for (size_t i = 0; i < chroma; ++i) video->plane[i] = video->chroma[2 * i + part];
        fwrite(video->plane, 1, chroma, stdout);
    }
    if (ferror(stdout)) stop("cannot write", "");
}

int main(int count, char **arguments) {
    char header[LINE];
    cyclegan_translator *translator = NULL;
    cyclegan_settings settings;
    if (count != 2) stop("usage: translate_y4m MODEL < in.y4m > out.y4m", "");
    Video input = read_header(header), output = input;
    output.luma = allocated(luma_bytes(&input));
    output.chroma = allocated(2 * plane_bytes(&input));
    check(cyclegan_default_settings(&settings, sizeof settings), NULL);
    settings.width = input.width;
    settings.height = input.height;
    check(cyclegan_open(&translator, arguments[1], &settings), NULL);
    printf("%s\n", header);

    const cyclegan_frame source = frame_of(&input), target = frame_of(&output);
    cyclegan_ticket ahead = 0, behind = 0; /* submitted last, and before that */
    int more;
    do {
        more = read_frame(&input);
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
    if (more < 0) stop("the stream ends in the middle of a frame", "");
    return 0;
}

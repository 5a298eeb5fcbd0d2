/*
 * A Video4Linux2 camera that is not there: loaded before libc (LD_PRELOAD), it answers for the path
 * /dev/video42, and links to it, as a driver would, as far as FFmpeg asks, and leaves all else to
 * libc.
 *
 * A picture is taken at every tick of the clock while the camera streams. It goes into the buffer
 * that has waited longest, and is lost if none waits, so that a slow reader misses pictures. The
 * buffers are the pages of the descriptor itself: who touches them after unmapping them crashes.
 *
 * The environment says what the camera is, each time it is opened:
 *   CAMERA_SIZES   WIDTHxHEIGHT,... that it has; another size becomes the first of them
 *   CAMERA_RATES   frames per second that it has, whole numbers; another becomes the first
 *   CAMERA_JPEG    a file: the camera also has MJPEG, and every picture is this one
 *   CAMERA_LIVES   frames,... after which it is unplugged, for the first time it streams, the
 *                  second, ...; after the last of them it stays away. Empty: it is never unplugged
 *   CAMERA_AWAY    seconds until it can be opened again
 *   CAMERA_SILENT  in place of being unplugged it stays, and gives no more pictures
 *   CAMERA_BROKEN  n: every n-th picture, the first among them, is marked as damaged
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH "/dev/video42"
enum { MOST_BUFFERS = 32, MOST_CHOICES = 8 };
enum state { OUT, WAITING, FILLED };

struct buffer {
  enum state state;
  uint64_t number; /* of the picture; while it waits, its place in the queue */
};

static struct {
  pthread_mutex_t mutex;
  int fd; /* -1: not open */
  int nonblocking, streaming;
  unsigned width, height, format, rate, buffers;
  uint8_t *pages;
  size_t length, each; /* of a picture, and of a buffer, which is whole pages */
  struct buffer buffer[MOST_BUFFERS];
  uint64_t queued, taken; /* buffers so far; pictures since STREAMON */
  double started, unplugged;
  int lives; /* how often it has streamed */
} camera = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static const char *setting(const char *name, const char *otherwise) {
  const char *given = getenv(name);
  return given && *given ? given : otherwise;
}

/* The list's numbers, separated by anything; how many there are. */
static int numbers(const char *list, long *into) {
  int count = 0;
  while (*list && count < 2 * MOST_CHOICES) {
    char *end;
    into[count++] = strtol(list, &end, 10);
    list = *end ? end + 1 : end;
  }
  return count;
}

static void choose_size(unsigned width, unsigned height) {
  long sizes[2 * MOST_CHOICES];
  int count = numbers(setting("CAMERA_SIZES", "64x48"), sizes) / 2;
  camera.width = sizes[0], camera.height = sizes[1];
  for (int i = 0; i < count; i++)
    if (sizes[2 * i] == width && sizes[2 * i + 1] == height)
      camera.width = width, camera.height = height;
}

static void choose_rate(unsigned rate) {
  long rates[2 * MOST_CHOICES];
  int count = numbers(setting("CAMERA_RATES", "25"), rates);
  camera.rate = rates[0];
  for (int i = 0; i < count; i++)
    if (rates[i] == rate) camera.rate = rate;
}

static const unsigned formats[] = {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_MJPEG};
static const char *const format_names[] = {"YUYV 4:2:2", "NV12", "Motion-JPEG"};

static unsigned format_count(void) { return getenv("CAMERA_JPEG") ? 3 : 2; }

static void choose_format(unsigned format) {
  camera.format = formats[0];
  for (unsigned i = 0; i < format_count(); i++)
    if (formats[i] == format) camera.format = format;
}

static size_t picture_bytes(void) {
  struct stat file;
  if (camera.format == V4L2_PIX_FMT_MJPEG)
    return stat(getenv("CAMERA_JPEG"), &file) ? 0 : file.st_size;
  unsigned pixels = camera.width * camera.height;
  return camera.format == V4L2_PIX_FMT_YUYV ? 2 * pixels : pixels * 3 / 2;
}

/* Pictures until it is unplugged or falls silent, in its life of this number, from 1. */
static uint64_t lifetime(int number) {
  long lives[2 * MOST_CHOICES];
  int count = numbers(setting("CAMERA_LIVES", ""), lives);
  if (!count) return UINT64_MAX;
  return number <= count ? (uint64_t)lives[number - 1] : 0;
}

static int is_away(void) {
  if (!camera.unplugged) return 0;
  return !lifetime(camera.lives + 1) || now() < camera.unplugged + atof(setting("CAMERA_AWAY", "0"));
}

/* Of the picture with this number: a ramp that moves to the left, over colours that stand. */
static uint8_t luma(unsigned x, uint64_t number) {
  unsigned place = (2 * x + 8 * number) % 240;
  return 80 + (place < 120 ? place : 240 - place);
}

static uint8_t blue(unsigned y) { return 112 + 32 * y / camera.height; }

static uint8_t red(unsigned x) { return 144 - 32 * x / camera.width; }

static void paint(uint8_t *to, uint64_t number) {
  if (camera.format == V4L2_PIX_FMT_MJPEG) {
    FILE *file = fopen(getenv("CAMERA_JPEG"), "rb");
    if (!file || fread(to, 1, camera.length, file) != camera.length) abort();
    fclose(file);
    return;
  }
  int packed = camera.format == V4L2_PIX_FMT_YUYV;
  uint8_t *chroma = to + (size_t)camera.width * camera.height;
  for (unsigned y = 0; y < camera.height; y++)
    for (unsigned x = 0; x < camera.width; x++) {
      *to++ = luma(x, number);
      if (packed)
        *to++ = x % 2 ? red(x - 1) : blue(y);
      else if (y % 2 == 0)
        *chroma++ = x % 2 ? red(x - 1) : blue(y);
    }
}

/* The buffer of this state that was queued, or filled, first; NULL if there is none. */
static struct buffer *first(enum state state) {
  struct buffer *found = NULL;
  for (unsigned i = 0; i < camera.buffers; i++) {
    struct buffer *buffer = &camera.buffer[i];
    if (buffer->state == state && (!found || buffer->number < found->number)) found = buffer;
  }
  return found;
}

/* Take the pictures that were due until now; false if the camera has been unplugged, which it is
 * when the last of them was read. */
static int catch_up(void) {
  if (camera.unplugged) return 0;
  uint64_t until = lifetime(camera.lives);
  for (; camera.streaming && camera.taken < until; camera.taken++) {
    if (now() < camera.started + (double)(camera.taken + 1) / camera.rate) return 1;
    struct buffer *free = first(WAITING);
    if (!free) continue;
    paint(camera.pages + (free - camera.buffer) * camera.each, camera.taken);
    *free = (struct buffer){FILLED, camera.taken};
  }
  if (!camera.streaming || getenv("CAMERA_SILENT") || first(FILLED)) return 1;
  camera.unplugged = now();
  return 0;
}

static int fail(int why) {
  errno = why;
  return -1;
}

static int describe(struct v4l2_buffer *asked) {
  if (asked->index >= camera.buffers) return fail(EINVAL);
  asked->length = camera.length;
  asked->m.offset = asked->index * camera.each;
  return 0;
}

static int give_buffers(struct v4l2_requestbuffers *asked) {
  long page = sysconf(_SC_PAGESIZE);
  asked->count = asked->count < MOST_BUFFERS ? asked->count : MOST_BUFFERS;
  camera.buffers = asked->count;
  camera.length = picture_bytes();
  camera.each = (camera.length + page - 1) / page * page;
  size_t all = camera.each * camera.buffers;
  if (!camera.length || ftruncate(camera.fd, all)) return fail(ENOMEM);
  camera.pages = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, camera.fd, 0);
  return camera.pages == MAP_FAILED ? -1 : 0;
}

static int queue(struct v4l2_buffer *given) {
  if (given->index >= camera.buffers || camera.buffer[given->index].state != OUT)
    return fail(EINVAL);
  catch_up(); /* what was due before found no place */
  camera.buffer[given->index] = (struct buffer){WAITING, camera.queued++};
  return 0;
}

/* The next picture, waiting for it as the camera was opened to. */
static int dequeue(struct v4l2_buffer *asked) {
  struct buffer *filled;
  if (!camera.streaming) return fail(EINVAL);
  for (;;) {
    if (!catch_up()) return fail(ENODEV);
    if ((filled = first(FILLED))) break;
    if (camera.nonblocking) return fail(EAGAIN);
    pthread_mutex_unlock(&camera.mutex);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    pthread_mutex_lock(&camera.mutex);
  }
  long every = atol(setting("CAMERA_BROKEN", "0"));
  double at = camera.started + (double)(filled->number + 1) / camera.rate;
  asked->index = filled - camera.buffer;
  asked->bytesused = camera.length;
  asked->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  if (every && filled->number % every == 0) asked->flags |= V4L2_BUF_FLAG_ERROR;
  asked->sequence = filled->number;
  asked->timestamp.tv_sec = at;
  asked->timestamp.tv_usec = (at - (long)at) * 1e6;
  filled->state = OUT;
  return describe(asked);
}

static int start(void) {
  camera.streaming = 1;
  camera.started = now();
  camera.taken = 0;
  camera.lives++;
  return 0;
}

/* Buffers that are still in use when the camera stops are pages that go away under their user. */
static int stop(void) {
  unsigned out = 0;
  for (unsigned i = 0; i < camera.buffers; i++) {
    out += camera.streaming && camera.buffer[i].state == OUT;
    camera.buffer[i].state = OUT;
  }
  if (out) fprintf(stderr, "camera: stopped with %u buffers in use\n", out);
  camera.streaming = 0;
  return 0;
}

static int format(struct v4l2_format *asked, int set) {
  if (set) {
    choose_size(asked->fmt.pix.width, asked->fmt.pix.height);
    choose_format(asked->fmt.pix.pixelformat);
  }
  asked->fmt.pix = (struct v4l2_pix_format){
      .width = camera.width,
      .height = camera.height,
      .pixelformat = camera.format,
      .field = V4L2_FIELD_NONE,
      .sizeimage = picture_bytes(),
      .colorspace = V4L2_COLORSPACE_SRGB,
  };
  return 0;
}

static int format_at(struct v4l2_fmtdesc *asked) {
  if (asked->index >= format_count()) return fail(EINVAL);
  asked->pixelformat = formats[asked->index];
  asked->flags = asked->pixelformat == V4L2_PIX_FMT_MJPEG ? V4L2_FMT_FLAG_COMPRESSED : 0;
  snprintf((char *)asked->description, sizeof asked->description, "%s",
           format_names[asked->index]);
  return 0;
}

static int size_at(struct v4l2_frmsizeenum *asked) {
  long sizes[2 * MOST_CHOICES];
  unsigned count = numbers(setting("CAMERA_SIZES", "64x48"), sizes) / 2;
  if (asked->index >= count) return fail(EINVAL);
  asked->type = V4L2_FRMSIZE_TYPE_DISCRETE;
  asked->discrete.width = sizes[2 * asked->index];
  asked->discrete.height = sizes[2 * asked->index + 1];
  return 0;
}

static int period(struct v4l2_streamparm *asked, int set) {
  struct v4l2_fract *each = &asked->parm.capture.timeperframe;
  if (set) choose_rate(each->numerator ? each->denominator / each->numerator : 0);
  asked->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
  *each = (struct v4l2_fract){1, camera.rate};
  return 0;
}

static int capability(struct v4l2_capability *asked) {
  *asked = (struct v4l2_capability){
      .driver = "test", .card = "a camera that is not there", .bus_info = "memory"};
  asked->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
  asked->capabilities = asked->device_caps | V4L2_CAP_DEVICE_CAPS;
  return 0;
}

static int answer(unsigned long request, void *argument) {
  if (camera.unplugged) {
    if (request == VIDIOC_STREAMOFF) stop();
    return fail(ENODEV);
  }
  switch (request) {
    case VIDIOC_QUERYCAP: return capability(argument);
    case VIDIOC_G_INPUT: return *(int *)argument = 0;
    case VIDIOC_S_INPUT: return *(int *)argument ? fail(EINVAL) : 0;
    case VIDIOC_ENUMINPUT: /* a camera, without any standard of television */
      return ((struct v4l2_input *)argument)->index ? fail(EINVAL) : 0;
    case VIDIOC_ENUM_FMT: return format_at(argument);
    case VIDIOC_ENUM_FRAMESIZES: return size_at(argument);
    case VIDIOC_G_FMT: return format(argument, 0);
    case VIDIOC_S_FMT: return format(argument, 1);
    case VIDIOC_G_PARM: return period(argument, 0);
    case VIDIOC_S_PARM: return period(argument, 1);
    case VIDIOC_REQBUFS: return give_buffers(argument);
    case VIDIOC_QUERYBUF: return describe(argument);
    case VIDIOC_QBUF: return queue(argument);
    case VIDIOC_DQBUF: return dequeue(argument);
    case VIDIOC_STREAMON: return start();
    case VIDIOC_STREAMOFF: return stop();
    default: return fail(ENOTTY); /* G_STD and ENUMSTD among them */
  }
}

static int open_camera(int flags) {
  if (is_away()) return fail(ENOENT);
  if (camera.fd >= 0) return fail(EBUSY);
  camera.fd = memfd_create("camera", MFD_CLOEXEC);
  camera.nonblocking = !!(flags & O_NONBLOCK);
  camera.unplugged = 0;
  choose_size(0, 0);
  choose_rate(0);
  choose_format(0);
  return camera.fd;
}

static void close_camera(void) {
  if (camera.streaming) stop();
  if (camera.pages) munmap(camera.pages, camera.each * camera.buffers);
  camera.pages = NULL;
  camera.buffers = camera.queued = 0;
  camera.fd = -1;
}

/* From here on, what stands in front of libc. */

static int is_camera(const char *path) {
  char real[sizeof PATH];
  ssize_t length = readlink(path, real, sizeof real); /* of a link to it */
  return !strcmp(path, PATH) || (length == sizeof PATH - 1 && !memcmp(real, PATH, length));
}

#define IN_FRONT_OF(name)                                         \
  int name(const char *path, int flags, ...) {                    \
    if (is_camera(path)) {                                        \
      pthread_mutex_lock(&camera.mutex);                          \
      int fd = open_camera(flags);                                \
      pthread_mutex_unlock(&camera.mutex);                        \
      return fd;                                                  \
    }                                                             \
    va_list more;                                                 \
    va_start(more, flags);                                        \
    mode_t mode = va_arg(more, mode_t);                           \
    va_end(more);                                                 \
    int (*libc)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    return libc(path, flags, mode);                               \
  }

IN_FRONT_OF(open)
IN_FRONT_OF(open64)

int ioctl(int fd, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void *argument = va_arg(more, void *);
  va_end(more);
  pthread_mutex_lock(&camera.mutex);
  if (fd < 0 || fd != camera.fd) {
    pthread_mutex_unlock(&camera.mutex);
    int (*libc)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return libc(fd, request, argument);
  }
  int result = answer(request, argument);
  pthread_mutex_unlock(&camera.mutex);
  return result;
}

int close(int fd) {
  pthread_mutex_lock(&camera.mutex);
  if (fd >= 0 && fd == camera.fd) close_camera();
  pthread_mutex_unlock(&camera.mutex);
  int (*libc)(int) = dlsym(RTLD_NEXT, "close");
  return libc(fd);
}

// Instance norm with what follows it, forward and backward, for a CPU: bfloat16 or float32, channels
// last.
//
// The same two passes as on a GPU, image by image, so that the second finds in the cache what the
// first has read. Threads share the rows of an image. Every row leaves sums of its own, which are
// merged in order: results do not depend on the number of threads. Inner loops run over channels,
// which lie side by side; where all of them are float32 or float64 the compiler vectorises them.
//
// N batch, C channels, H height, W width; activations are (N, H, W, C) without holes. gamma and beta
// (C) scale and shift. slope: what a negative number is multiplied by, 1 where nothing follows, 0
// for relu. work: (H, 2, C) of anybody's.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vectors_cpu.h"

namespace {

constexpr Index PIECE = 16;

struct Shape {
  Index n, c, h, w, pad;
  Index rows() const { return h + 2 * pad; }
  Index columns() const { return w + 2 * pad; }
};

// The pixel that position i of a padded line of n pixels shows.
inline Index mirrored(Index i, Index n, Index pad) {
  const Index from_start = std::abs(i - pad);
  return n - 1 - std::abs(n - 1 - from_start);
}

// The positions of a padded line that show pixel i, one to three.
struct Images {
  Index at[3];
  int count = 1;
  Images(Index i, Index n, Index pad) {
    at[0] = i + pad;
    if (1 <= i && i <= pad) at[count++] = pad - i;
    if (n - 1 - pad <= i && i <= n - 2) at[count++] = 2 * (n - 1) - i + pad;
  }
};

// Of a row, the mean of x - first, first being the row's first pixel, and the sum of squared
// distances from its mean. Pieces of a few pixels are merged (Chan et al. 1983), each added up as
// distances from its own first pixel: no digits are lost where the mean is large, and few where a
// first pixel is unlike all others, as along the edges of a picture.
template <class Number>
void row_moments(const Number* x, float* shift, float* squares, Index w, Index c) {
  in_vectors(c, [=](auto vector, Index k) {
    using V = decltype(vector);
    const V origin = read<V>(x + k);
    V mean{}, spread{};
    for (Index begin = 0; begin < w; begin += PIECE) {
      const Index count = std::min(PIECE, w - begin);
      const Number* piece = x + begin * c + k;
      const V first = read<V>(piece);
      V of_distance{}, of_square{};
      for (Index i = 0; i < count; ++i) {
        const V d = read<V>(piece + i * c) - first;
        of_distance += d;
        of_square += d * d;
      }
      const float pixels = static_cast<float>(count);
      const float before = static_cast<float>(begin), share = pixels / (before + pixels);
      const V within = of_distance * (1 / pixels), apart = first - origin + within - mean;
      mean += share * apart;
      spread += of_square - within * of_distance + before * share * apart * apart;
    }
    write(shift + k, mean);
    write(squares + k, spread);
  });
}

// What an image is normalized with, and what comes after: channel k of a pixel, and those after it.
struct Norm {
  const float *mean, *rstd, *gamma, *beta;
  float slope;
  template <class V, class Number>
  V normalized(const Number* x, Index k) const {
    return (read<V>(x + k) - read<V>(mean + k)) * read<V>(rstd + k);
  }
  template <class V>
  V scaled(V xhat, Index k) const {
    return xhat * read<V>(gamma + k) + read<V>(beta + k);
  }
  // `then` where the activation lets y pass, which is y itself or a gradient.
  template <class V>
  V activated(V y, V then) const {
    return y > 0 ? then : then * slope;
  }
};

// Where the gradient of a pixel comes from: what dz has there, and all that shows it.
template <class Number>
struct Gradient {
  const Number* from[10];
  int count = 0;
  Gradient(const Number* dz, const Number* dpadded, const Images& rows, const Images& columns,
           const Shape& s) {
    if (dz) from[count++] = dz;
    if (!dpadded) return;
    for (int i = 0; i < rows.count; ++i)
      for (int j = 0; j < columns.count; ++j)
        from[count++] = dpadded + (rows.at[i] * s.columns() + columns.at[j]) * s.c;
  }
  // Of channel k, and those after it.
  template <class V>
  V read_from(Index k) const {
    V sum{};
    for (int i = 0; i < count; ++i) sum += read<V>(from[i] + k);
    return sum;
  }
};

// Adds up what the rows left: sums of image n, 2 * c of them, in double precision.
void merge(const float* partial, double* sums, const Shape& s) {
  for (Index k = 0; k < 2 * s.c; ++k) sums[k] = 0;
  for (Index row = 0; row < s.h; ++row, partial += 2 * s.c) {
    for (Index k = 0; k < 2 * s.c; ++k) sums[k] += partial[k];
  }
}

// Merges what row_moments has left of an image x, in double precision: its mean, and the sum of its
// squared distances from that.
template <class Number>
void merge_moments(const Number* x, const float* partial, double* mean, double* squares,
                   const Shape& s) {
  for (Index k = 0; k < s.c; ++k) mean[k] = squares[k] = 0;
  for (Index row = 0; row < s.h; ++row, partial += 2 * s.c, x += s.w * s.c) {
    const double share = 1.0 / (row + 1), spread = s.w * row * share;
#pragma GCC ivdep
    for (Index k = 0; k < s.c; ++k) {
      const double apart = wide(x[k]) + static_cast<double>(partial[k]) - mean[k];
      mean[k] += share * apart;
      squares[k] += partial[s.c + k] + spread * apart * apart;
    }
  }
}

// residual, and z or padded, may be null. mean and rstd: (N, C).
template <class Number>
void norm_forward(const Number* x, const float* gamma, const float* beta,
                  const Number* residual, Number* z, Number* padded, float* mean, float* rstd,
                  float* work, Index n, Index c, Index h, Index w, Index pad, Index threads,
                  float eps, float slope) {
  const Shape s{n, c, h, w, pad};
  const Index image = h * w * c, around = s.rows() * s.columns() * c;
#pragma omp parallel num_threads(threads)
  for (Index i = 0; i < n; ++i) {
    const Number *xi = x + i * image, *ri = residual ? residual + i * image : nullptr;
    float *m = mean + i * c, *r = rstd + i * c;
    const Norm norm{m, r, gamma, beta, slope};
#pragma omp for
    for (Index row = 0; row < h; ++row) {
      float* shift = work + row * 2 * c;
      row_moments(xi + row * w * c, shift, shift + c, w, c);
    }
#pragma omp single
    {
      std::vector<double> moments(2 * c);
      double *exact = moments.data(), *squares = exact + c;
      merge_moments(xi, work, exact, squares, s);
#pragma GCC ivdep
      for (Index k = 0; k < c; ++k) {
        const double variance = squares[k] / (h * w);
        m[k] = static_cast<float>(exact[k]);
        r[k] = static_cast<float>(1 / std::sqrt((variance < 0 ? 0 : variance) + eps));
      }
    }
#pragma omp for
    for (Index row = 0; row < s.rows(); ++row) {
      const Index from = mirrored(row, h, pad);
      const bool inside = pad <= row && row < pad + h;
      for (Index column = 0; column < s.columns(); ++column) {
        const Index at = (from * w + mirrored(column, w, pad)) * c;
        const Number *xp = xi + at, *rp = ri ? ri + at : nullptr;
        Number* zp = z && inside && pad <= column && column < pad + w ? z + i * image + at : nullptr;
        Number* pp = padded ? padded + i * around + (row * s.columns() + column) * c : zp;
        if (!pp) continue;
        in_vectors(c, [=](auto vector, Index k) {
          using V = decltype(vector);
          const V y = norm.scaled(norm.normalized<V>(xp, k), k);
          const V active = norm.activated(y, y);
          write(pp + k, rp ? active + read<V>(rp + k) : active);
        });
        if (zp && zp != pp) std::memcpy(zp, pp, c * sizeof *zp);
      }
    }
  }
}

// dz or dpadded may be null, and dy, which takes the whole gradient of z. sums, of g and of g x^:
// (N, 2, C).
template <class Number>
void norm_backward(const Number* dz, const Number* dpadded, const Number* x,
                   const float* mean, const float* rstd, const float* gamma, const float* beta,
                   Number* dx, Number* dy, float* sums, float* work, Index n, Index c, Index h,
                   Index w, Index pad, Index threads, float slope) {
  const Shape s{n, c, h, w, pad};
  const Index image = h * w * c, around = s.rows() * s.columns() * c;
#pragma omp parallel num_threads(threads)
  {
    for (Index i = 0; i < n; ++i) {
      const Norm norm{mean + i * c, rstd + i * c, gamma, beta, slope};
      const Number* pi = dpadded ? dpadded + i * around : nullptr;
#pragma omp for
      for (Index row = 0; row < h; ++row) {
        float *s1 = work + row * 2 * c, *s2 = s1 + c;
        std::memset(s1, 0, 2 * c * sizeof *s1);
        const Images rows(row, h, pad);
        for (Index column = 0; column < w; ++column) {
          const Index at = i * image + (row * w + column) * c;
          const Gradient<Number> of_y(dz ? dz + at : nullptr, pi, rows, Images(column, w, pad), s);
          in_vectors(c, [&](auto vector, Index k) {
            using V = decltype(vector);
            const V d = of_y.template read_from<V>(k);
            const V xhat = norm.normalized<V>(x + at, k);
            const V g = norm.activated(norm.scaled(xhat, k), d);
            write(s1 + k, read<V>(s1 + k) + g);
            write(s2 + k, read<V>(s2 + k) + g * xhat);
            if (dy) write(dy + at + k, d);
          });
        }
      }
#pragma omp single
      {
        std::vector<double> total(2 * c);
        merge(work, total.data(), s);
        for (Index k = 0; k < 2 * c; ++k) sums[i * 2 * c + k] = static_cast<float>(total[k]);
      }
      const float *t1 = sums + i * 2 * c, *t2 = t1 + c;
      const float share = 1.0f / static_cast<float>(h * w);
#pragma omp for
      for (Index row = 0; row < h; ++row) {
        const Images rows(row, h, pad);
        for (Index column = 0; column < w; ++column) {
          const Index at = i * image + (row * w + column) * c;
          const Gradient<Number> of_y =
              dy ? Gradient<Number>(dy + at, nullptr, rows, rows, s)
                 : Gradient<Number>(dz ? dz + at : nullptr, pi, rows, Images(column, w, pad), s);
          in_vectors(c, [&](auto vector, Index k) {
            using V = decltype(vector);
            const V d = of_y.template read_from<V>(k);
            const V xhat = norm.normalized<V>(x + at, k);
            const V g = norm.activated(norm.scaled(xhat, k), d);
            const V centred = g - share * (read<V>(t1 + k) + xhat * read<V>(t2 + k));
            write(dx + at + k, read<V>(gamma + k) * read<V>(norm.rstd + k) * centred);
          });
        }
      }
    }
  }
}

}  // namespace

#define NORM(kind, Number)                                                                        \
  extern "C" void norm_forward_##kind(                                                            \
      const Number* x, const float* gamma, const float* beta, const Number* residual, Number* z,  \
      Number* padded, float* mean, float* rstd, float* work, Index n, Index c, Index h, Index w,  \
      Index pad, Index threads, float eps, float slope) {                                         \
    norm_forward(x, gamma, beta, residual, z, padded, mean, rstd, work, n, c, h, w, pad, threads, \
                 eps, slope);                                                                     \
  }                                                                                               \
  extern "C" void norm_backward_##kind(                                                           \
      const Number* dz, const Number* dpadded, const Number* x, const float* mean,                \
      const float* rstd, const float* gamma, const float* beta, Number* dx, Number* dy,           \
      float* sums, float* work, Index n, Index c, Index h, Index w, Index pad, Index threads,     \
      float slope) {                                                                              \
    norm_backward(dz, dpadded, x, mean, rstd, gamma, beta, dx, dy, sums, work, n, c, h, w, pad,   \
                  threads, slope);                                                                \
  }

NORM(bfloat16, bfloat16)
NORM(float32, float)

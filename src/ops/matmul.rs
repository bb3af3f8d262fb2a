//! Owns: matrix products of views into slices, on one thread or all.
//! Must not know: tensors, what the matrices stand for.
//! Invariant: no product reads or writes outside the slices of its views.

mod skinny;

use gemm::{Parallelism, gemm};
use std::marker::PhantomData;
use std::ops::Range;

/// Fewest multiply-adds that are worth waking up a thread.
const MIN_WORK_PER_THREAD: usize = 1 << 20;
/// Most rows of a result for which the second matrix is read as it lies, instead of being packed first.
const MAX_SKINNY_ROWS: usize = 8;
/// Rows whose arithmetic takes as long as reading the second matrix, the cost of a skinny product.
const SKINNY_COST_ROWS: usize = 32;

/// How a matrix lies in a slice; steps are in numbers.
#[derive(Clone, Copy, Debug)]
struct MatrixLayout {
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl MatrixLayout {
    /// Returns the numbers from the first to the last, both included.
    fn extent(&self) -> usize {
        match self.rows * self.columns {
            0 => 0,
            _ => (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1,
        }
    }

    fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step }
    }
}

/// A matrix to read, in a slice.
#[derive(Clone, Copy, Debug)]
pub struct MatrixView<'a> {
    data: &'a [f32],
    layout: MatrixLayout,
}

impl<'a> MatrixView<'a> {
    /// Creates a view of `rows` × `columns`; a row begins `step` numbers after the preceding one.
    ///
    /// # Panics
    /// If the matrix does not fit into `data`, or rows overlap.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, step: usize) -> Self {
        let layout = MatrixLayout { rows, columns, row_step: step, column_step: 1 };
        assert!(layout.extent() <= data.len() && columns <= step, "{layout:?} in {} numbers", data.len());
        Self { data, layout }
    }

    /// Returns row `at` of a matrix that is not transposed.
    #[inline(always)]
    pub fn row(&self, at: usize) -> &'a [f32] {
        assert!(self.layout.column_step == 1 && at < self.layout.rows, "row {at} of {:?}", self.layout);
        &self.data[at * self.layout.row_step..][..self.layout.columns]
    }

    /// Prefetches the cache lines of column `at` in `rows`, as far as the matrix has such rows.
    #[inline(always)]
    fn prefetch(&self, rows: Range<usize>, at: usize) {
        for row in rows.start..rows.end.min(self.layout.rows) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a hint, which reads nothing that the program sees; every x86-64 has it.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().wrapping_add(row * self.layout.row_step + at).cast());
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = (row, at);
        }
    }

    pub fn t(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }

    fn row_range(self, range: Range<usize>) -> Self {
        let data = &self.data[(range.start * self.layout.row_step).min(self.data.len())..];
        Self { data, layout: MatrixLayout { rows: range.len(), ..self.layout } }
    }
}

/// A matrix to write. It may be a part of one whose other parts are written through other views.
#[derive(Debug)]
pub struct MatrixViewMut<'a> {
    /// Not a slice, because numbers between its rows may belong to another view.
    data: *mut f32,
    layout: MatrixLayout,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view alone has access to its numbers (`new` borrows them, `split_*` divides them into disjoint views).
unsafe impl Send for MatrixViewMut<'_> {}

impl<'a> MatrixViewMut<'a> {
    /// Creates a view of `rows` × `columns`; a row begins `step` numbers after the preceding one.
    ///
    /// # Panics
    /// If the matrix does not fit into `data`, or rows overlap.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, step: usize) -> Self {
        let layout = MatrixLayout { rows, columns, row_step: step, column_step: 1 };
        assert!(layout.extent() <= data.len() && columns <= step, "{layout:?} in {} numbers", data.len());
        Self { data: data.as_mut_ptr(), layout, borrow: PhantomData }
    }

    /// Splits the view into its first `columns` columns and the others.
    pub fn split_columns(self, columns: usize) -> (Self, Self) {
        assert!(columns <= self.layout.columns, "{columns} columns of {:?}", self.layout);
        let layout = MatrixLayout { columns: self.layout.columns - columns, ..self.layout };
        (
            Self { layout: MatrixLayout { columns, ..self.layout }, ..self },
            Self { data: self.offset_ptr(columns), layout, ..self },
        )
    }

    /// Splits the view into its first `rows` rows and the others.
    pub fn split_rows(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.layout.rows, "{rows} rows of {:?}", self.layout);
        let layout = MatrixLayout { rows: self.layout.rows - rows, ..self.layout };
        let data = self.offset_ptr(rows * self.layout.row_step);
        (Self { layout: MatrixLayout { rows, ..self.layout }, ..self }, Self { data, layout, ..self })
    }

    /// Returns a part of the matrix, which borrows the view.
    pub fn submatrix(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixViewMut<'_> {
        let layout = self.layout;
        assert!(rows.end <= layout.rows && columns.end <= layout.columns, "{rows:?}, {columns:?} of {layout:?}");
        let data = self.offset_ptr(rows.start * layout.row_step + columns.start);
        MatrixViewMut {
            data,
            layout: MatrixLayout { rows: rows.len(), columns: columns.len(), ..layout },
            borrow: PhantomData,
        }
    }

    pub fn rows(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let (data, layout) = (self.data, self.layout);
        // SAFETY: rows do not overlap (`columns <= step`), lie inside the borrowed data, and `self` stays borrowed.
        (0..layout.rows).map(move |row| unsafe {
            std::slice::from_raw_parts_mut(data.wrapping_add(row * layout.row_step), layout.columns)
        })
    }

    pub fn dims(&self) -> [usize; 2] {
        [self.layout.rows, self.layout.columns]
    }

    fn offset_ptr(&self, offset: usize) -> *mut f32 {
        self.data.wrapping_add(offset)
    }
}

/// What a product does with the numbers of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// `out = a·b`
    Overwrite,
    /// `out += a·b`
    Add,
}

/// Computes `a·b` on the calling thread.
pub fn matmul(out: MatrixViewMut<'_>, a: MatrixView<'_>, b: MatrixView<'_>, mode: WriteMode) {
    let job = MatmulJob { out: out.data, layout: out.layout, a, b, mode };
    job.check();
    // SAFETY: `out.data` is borrowed mutably here; the shapes fit (`check`), and views lie inside their slices.
    unsafe { job.run() }
}

/// Computes `a·b` on all threads of the pool, if the product is large enough.
pub fn matmul_parallel(out: MatrixViewMut<'_>, a: MatrixView<'_>, b: MatrixView<'_>, mode: WriteMode) {
    let job = MatmulJob { out: out.data, layout: out.layout, a, b, mode };
    job.check();
    // SAFETY: as on one thread; the halves of `split` write no number in common.
    unsafe { job.run_parallel(rayon::current_num_threads()) }
}

/// A matrix product, or a part of one.
#[derive(Clone, Copy)]
struct MatmulJob<'a> {
    out: *mut f32,
    layout: MatrixLayout,
    a: MatrixView<'a>,
    b: MatrixView<'a>,
    mode: WriteMode,
}

// SAFETY: only parts of one product cross threads, and they write different numbers of `out`.
unsafe impl Send for MatmulJob<'_> {}

impl MatmulJob<'_> {
    fn check(&self) {
        let (a, b, out) = (self.a.layout, self.b.layout, self.layout);
        assert!(
            a.rows == out.rows && b.columns == out.columns && a.columns == b.rows,
            "{}×{} · {}×{} into {}×{}",
            a.rows,
            a.columns,
            b.rows,
            b.columns,
            out.rows,
            out.columns
        );
    }

    /// Runs the product in up to `ways` parts in parallel.
    ///
    /// # Safety
    /// `out` must be valid for its layout, and nobody else may use it meanwhile.
    unsafe fn run_parallel(self, ways: usize) {
        let rows = if self.is_skinny() { SKINNY_COST_ROWS } else { self.layout.rows };
        let work = rows * self.layout.columns * self.a.layout.columns;
        if ways < 2 || work < 2 * MIN_WORK_PER_THREAD {
            // SAFETY: the caller guarantees it.
            return unsafe { self.run() };
        }
        let (first, second) = self.split(ways / 2, ways);
        // SAFETY: the halves are disjoint parts of `out`.
        rayon::join(
            move || unsafe { first.run_parallel(ways / 2) },
            move || unsafe { second.run_parallel(ways - ways / 2) },
        );
    }

    /// Splits the product by rows or columns, whichever are more. The first part is `share` of `total`.
    fn split(self, share: usize, total: usize) -> (Self, Self) {
        let transpose = self.layout.columns > self.layout.rows;
        let (layout, a, b) = match transpose {
            true => (self.layout.transposed(), self.b.t(), self.a.t()),
            false => (self.layout, self.a, self.b),
        };
        let cut = (layout.rows * share / total).next_multiple_of(16).min(layout.rows);
        let part = |range: Range<usize>| {
            let out = self.out.wrapping_add(range.start * layout.row_step);
            let (layout, a) = (MatrixLayout { rows: range.len(), ..layout }, a.row_range(range));
            match transpose {
                true => Self { out, layout: layout.transposed(), a: b.t(), b: a.t(), ..self },
                false => Self { out, layout, a, b, ..self },
            }
        };
        (part(0..cut), part(cut..layout.rows))
    }

    /// Returns whether the result has few rows and the matrices lie as `skinny` takes them.
    fn is_skinny(&self) -> bool {
        let (out, a, b) = (self.layout, self.a.layout, self.b.layout);
        let by_rows = out.column_step == 1 && a.column_step == 1;
        out.rows <= MAX_SKINNY_ROWS && by_rows && (b.column_step == 1 || b.row_step == 1)
    }

    /// Runs the product on the calling thread.
    ///
    /// # Safety
    /// `out` must be valid for its layout, and nobody else may use it meanwhile.
    unsafe fn run(self) {
        let (out, a, b) = (self.layout, self.a.layout, self.b.layout);
        if out.rows == 0 || out.columns == 0 {
            return;
        }
        if self.is_skinny() {
            // SAFETY: the caller guarantees that `out` is valid and not used elsewhere.
            let mut out = MatrixViewMut { data: self.out, layout: self.layout, borrow: PhantomData };
            return match b.column_step {
                1 => skinny::matmul(&mut out, self.a, self.b, self.mode),
                _ => skinny::matmul_transposed(&mut out, self.a, self.b.t(), self.mode),
            };
        }
        let adds = self.mode == WriteMode::Add;
        // SAFETY: shapes fit (`check`), and matrices lie inside their slices (`new` of the views; `out` by
        // the caller).
        unsafe {
            gemm(
                out.rows,
                out.columns,
                a.columns,
                self.out,
                out.column_step as isize,
                out.row_step as isize,
                adds,
                self.a.data.as_ptr(),
                a.column_step as isize,
                a.row_step as isize,
                self.b.data.as_ptr(),
                b.column_step as isize,
                b.row_step as isize,
                if adds { 1.0 } else { 0.0 },
                1.0_f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn products_match_a_plain_loop_in_every_layout() {
        let sizes = [
            (1, 1, 1),
            (3, 5, 2),
            (4, 40, 33),
            (5, 33, 450),
            (7, 16, 700),
            (8, 77, 600),
            (1, 300, 70),
            (33, 7, 129),
            (200, 130, 170),
            (40, 300, 900),
        ];
        for (m, k, n) in sizes {
            let (a, b, initial) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let at: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
            let bt: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
            for mode in [WriteMode::Overwrite, WriteMode::Add] {
                let adds = mode == WriteMode::Add;
                let mut wanted = if adds { initial.clone() } else { vec![0.0; m * n] };
                for (i, row) in wanted.chunks_mut(n).enumerate() {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value += (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
                    }
                }
                for (a, b) in [
                    (MatrixView::new(&a, m, k, k), MatrixView::new(&b, k, n, n)),
                    (MatrixView::new(&at, k, m, m).t(), MatrixView::new(&bt, n, k, k).t()),
                ] {
                    let (mut single, mut parallel) = (initial.clone(), initial.clone());
                    matmul(MatrixViewMut::new(&mut single, m, n, n), a, b, mode);
                    matmul_parallel(MatrixViewMut::new(&mut parallel, m, n, n), a, b, mode);
                    for found in [single, parallel] {
                        let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(worst < 1e-3, "{m} {k} {n} {mode:?}: {worst}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "2×3 · 2×3 into 2×3")]
    fn mismatched_shapes_panic() {
        let mut out = [0.0; 6];
        let a = [0.0; 6];
        matmul(
            MatrixViewMut::new(&mut out, 2, 3, 3),
            MatrixView::new(&a, 2, 3, 3),
            MatrixView::new(&a, 2, 3, 3),
            WriteMode::Overwrite,
        );
    }
}

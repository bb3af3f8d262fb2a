//! Owns: matrix products of views into slices, on one thread or all.
//! Must not know: tensors, what the matrices are.
//! Invariant: no product reads or writes outside the slices of its views.

mod few;

use gemm::{Parallelism, gemm};
use std::marker::PhantomData;
use std::ops::Range;

/// Multiply-adds that are worth a thread's waking up.
const WORTH: usize = 1 << 20;
/// Rows of a result up to which the second matrix is not put in order first: to read it is what takes the time, as much as
/// so many rows' arithmetic does.
const FEW: usize = 8;
const READING: usize = 32;

/// How a matrix lies in a slice.
#[derive(Clone, Copy, Debug)]
struct Form {
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl Form {
    /// Numbers from the first to behind the last.
    fn span(&self) -> usize {
        match self.rows * self.columns {
            0 => 0,
            _ => (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1,
        }
    }

    fn turned(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_step: self.column_step,
            column_step: self.row_step,
        }
    }
}

/// A matrix to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    form: Form,
}

impl<'a> View<'a> {
    /// `rows` × `columns`, the next row `step` numbers further.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, step: usize) -> Self {
        let form = Form { rows, columns, row_step: step, column_step: 1 };
        assert!(form.span() <= data.len() && columns <= step, "{form:?} in {} numbers", data.len());
        Self { data, form }
    }

    /// Row `at` of one that is not transposed.
    #[inline(always)]
    pub fn row(&self, at: usize) -> &'a [f32] {
        assert!(self.form.column_step == 1 && at < self.form.rows, "row {at} of {:?}", self.form);
        &self.data[at * self.form.row_step..][..self.form.columns]
    }

    /// Has the processor fetch what column `at` of `rows` lies next to, as far as there are such rows.
    #[inline(always)]
    fn ahead(&self, rows: Range<usize>, at: usize) {
        for row in rows.start..rows.end.min(self.form.rows) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a hint, which reads nothing that the program sees; every x86-64 has it.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(
                    self.data.as_ptr().wrapping_add(row * self.form.row_step + at).cast(),
                );
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = (row, at);
        }
    }

    /// Transposed.
    pub fn t(self) -> Self {
        Self { form: self.form.turned(), ..self }
    }

    fn rows(self, range: Range<usize>) -> Self {
        let data = &self.data[(range.start * self.form.row_step).min(self.data.len())..];
        Self { data, form: Form { rows: range.len(), ..self.form } }
    }
}

/// A matrix to write: rows or columns of one that others write the rest of.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// Never a slice: between its rows lie numbers that may be another view's.
    data: *mut f32,
    form: Form,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only way to the numbers that are its own (`new` borrows them, `split_*` shares them out).
unsafe impl Send for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// `rows` × `columns`, the next row `step` numbers further.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, step: usize) -> Self {
        let form = Form { rows, columns, row_step: step, column_step: 1 };
        assert!(form.span() <= data.len() && columns <= step, "{form:?} in {} numbers", data.len());
        Self { data: data.as_mut_ptr(), form, borrow: PhantomData }
    }

    /// The first `columns`, and the others.
    pub fn split_columns(self, columns: usize) -> (Self, Self) {
        assert!(columns <= self.form.columns, "{columns} columns of {:?}", self.form);
        let form = Form { columns: self.form.columns - columns, ..self.form };
        (
            Self { form: Form { columns, ..self.form }, ..self },
            Self { data: self.place(columns), form, ..self },
        )
    }

    /// The first `rows`, and the others.
    pub fn split_rows(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.form.rows, "{rows} rows of {:?}", self.form);
        let form = Form { rows: self.form.rows - rows, ..self.form };
        let data = self.place(rows * self.form.row_step);
        (Self { form: Form { rows, ..self.form }, ..self }, Self { data, form, ..self })
    }

    /// A part of it, for as long as it lasts.
    pub fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> ViewMut<'_> {
        let form = self.form;
        assert!(rows.end <= form.rows && columns.end <= form.columns, "{rows:?}, {columns:?} of {form:?}");
        let data = self.place(rows.start * form.row_step + columns.start);
        ViewMut { data, form: Form { rows: rows.len(), columns: columns.len(), ..form }, borrow: PhantomData }
    }

    /// Its rows, one after another.
    pub fn rows(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let (data, form) = (self.data, self.form);
        // SAFETY: rows lie apart (`columns <= step`), inside of what was borrowed, and `self` stays borrowed.
        (0..form.rows).map(move |row| unsafe {
            std::slice::from_raw_parts_mut(data.wrapping_add(row * form.row_step), form.columns)
        })
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.form.rows, self.form.columns]
    }

    fn place(&self, offset: usize) -> *mut f32 {
        self.data.wrapping_add(offset)
    }
}

/// `out = a·b`, or `out += a·b` (`add`), on the calling thread.
pub fn product(out: ViewMut<'_>, a: View<'_>, b: View<'_>, add: bool) {
    let parts = Parts { out: out.data, form: out.form, a, b, add };
    parts.check();
    // SAFETY: `out.data` is borrowed mutably here and `check` has found all three matrices inside their slices.
    unsafe { parts.run() }
}

/// The same on all threads of the pool, where it is worth it.
pub fn product_on_all(out: ViewMut<'_>, a: View<'_>, b: View<'_>, add: bool) {
    let parts = Parts { out: out.data, form: out.form, a, b, add };
    parts.check();
    // SAFETY: as in `product`; the halves of `split` write no number in common.
    unsafe { parts.spread(rayon::current_num_threads()) }
}

/// A product, or a part of one.
#[derive(Clone, Copy)]
struct Parts<'a> {
    out: *mut f32,
    form: Form,
    a: View<'a>,
    b: View<'a>,
    add: bool,
}

// SAFETY: parts of one product, which are all that cross threads, write different numbers of `out`.
unsafe impl Send for Parts<'_> {}

impl Parts<'_> {
    fn check(&self) {
        let (a, b, out) = (self.a.form, self.b.form, self.form);
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

    /// In `ways` parts at once.
    ///
    /// # Safety
    /// `out` must be valid for `form`, and nobody else may use it meanwhile.
    unsafe fn spread(self, ways: usize) {
        let rows = if self.few() { READING } else { self.form.rows };
        let work = rows * self.form.columns * self.a.form.columns;
        if ways < 2 || work < 2 * WORTH {
            // SAFETY: handed on.
            return unsafe { self.run() };
        }
        let (first, second) = self.split(ways / 2, ways);
        // SAFETY: the halves are disjoint parts of `out`.
        rayon::join(
            move || unsafe { first.spread(ways / 2) },
            move || unsafe { second.spread(ways - ways / 2) },
        );
    }

    /// Two parts, `share` of `of` in the first: by rows or by columns, whichever there are more of.
    fn split(self, share: usize, of: usize) -> (Self, Self) {
        let turn = self.form.columns > self.form.rows;
        let (form, a, b) = match turn {
            true => (self.form.turned(), self.b.t(), self.a.t()),
            false => (self.form, self.a, self.b),
        };
        let cut = (form.rows * share / of).next_multiple_of(16).min(form.rows);
        let part = |range: Range<usize>| {
            let out = self.out.wrapping_add(range.start * form.row_step);
            let (form, a) = (Form { rows: range.len(), ..form }, a.rows(range));
            match turn {
                true => Self { out, form: form.turned(), a: b.t(), b: a.t(), ..self },
                false => Self { out, form, a, b, ..self },
            }
        };
        (part(0..cut), part(cut..form.rows))
    }

    /// Whether it has few rows, in matrices that lie as `few` takes them.
    fn few(&self) -> bool {
        let (out, a, b) = (self.form, self.a.form, self.b.form);
        let rows = out.column_step == 1 && a.column_step == 1;
        out.rows <= FEW && rows && (b.column_step == 1 || b.row_step == 1)
    }

    /// # Safety
    /// As for `spread`.
    unsafe fn run(self) {
        let (out, a, b) = (self.form, self.a.form, self.b.form);
        if out.rows == 0 || out.columns == 0 {
            return;
        }
        if self.few() {
            // SAFETY: as for `spread`; a view of what is ours alone.
            let mut place = ViewMut { data: self.out, form: self.form, borrow: PhantomData };
            return match b.column_step {
                1 => few::along(&mut place, self.a, self.b, self.add),
                _ => few::across(&mut place, self.a, self.b.t(), self.add),
            };
        }
        let keep = if self.add { 1.0 } else { 0.0 };
        // SAFETY: forms fit (`check`) and lie inside their slices (constructors of the views; `out` by the caller).
        unsafe {
            gemm(
                out.rows,
                out.columns,
                a.columns,
                self.out,
                out.column_step as isize,
                out.row_step as isize,
                self.add,
                self.a.data.as_ptr(),
                a.column_step as isize,
                a.row_step as isize,
                self.b.data.as_ptr(),
                b.column_step as isize,
                b.row_step as isize,
                keep,
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
    fn parts_make_the_whole_however_the_matrices_lie() {
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
            let (a, b, before) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let at: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
            let bt: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
            for add in [false, true] {
                let mut wanted = if add { before.clone() } else { vec![0.0; m * n] };
                for (i, row) in wanted.chunks_mut(n).enumerate() {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value += (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
                    }
                }
                for (a, b) in [
                    (View::new(&a, m, k, k), View::new(&b, k, n, n)),
                    (View::new(&at, k, m, m).t(), View::new(&bt, n, k, k).t()),
                ] {
                    let (mut alone, mut all) = (before.clone(), before.clone());
                    product(ViewMut::new(&mut alone, m, n, n), a, b, add);
                    product_on_all(ViewMut::new(&mut all, m, n, n), a, b, add);
                    for found in [alone, all] {
                        let worst = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(worst < 1e-3, "{m} {k} {n} {add}: {worst}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "2×3 · 2×3 into 2×3")]
    fn what_does_not_fit_is_refused() {
        let mut out = [0.0; 6];
        let a = [0.0; 6];
        product(ViewMut::new(&mut out, 2, 3, 3), View::new(&a, 2, 3, 3), View::new(&a, 2, 3, 3), false);
    }
}

//! Owns: selecting a device, checking that a GPU has a driver, and measuring its rate of matrix products.
//! Must not know: what runs on the device.
//! Invariant: a device is created only after its driver has answered: without one, Burn's thread panics.

use super::DeviceError;
use crate::config::Dtype;
use burn::tensor::{DType, Device, Int, Tensor};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct SelectedDevice {
    pub device: Device,
    pub name: String,
    pub reason: String,
    pub kind: DeviceKind,
    pub pci_bus_id: Option<String>,
}

/// The backend of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum DeviceKind {
    Cpu,
    Cuda,
    Wgpu,
}

impl DeviceKind {
    /// Returns the name that `run.device` takes.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether kernels are compiled when they run for the first time.
    pub fn compiles_kernels(self) -> bool {
        self != DeviceKind::Cpu
    }

    /// Returns the side of matrices that fill the device, and the maximum time of the measurement.
    fn measurement_size(self) -> (usize, Duration) {
        match self {
            DeviceKind::Cpu => (512, Duration::from_millis(40)),
            DeviceKind::Cuda => (4096, Duration::from_millis(200)),
            DeviceKind::Wgpu => (2048, Duration::from_millis(200)),
        }
    }
}

impl SelectedDevice {
    /// Returns an error about `key` if the device cannot multiply in `dtype`, or only emulates it.
    pub fn check_dtype(&self, dtype: Dtype, key: &'static str) -> Result<(), DeviceError> {
        let reason = match (dtype, self.kind) {
            (Dtype::F32, _) => return Ok(()),
            (Dtype::Bf16, DeviceKind::Cpu) => "the CPU multiplies only f32 at full speed",
            (Dtype::Bf16, _) if self.device.supports_dtype(DType::BF16) => return Ok(()),
            (Dtype::Bf16, _) => "the device does not support it",
        };
        let reason = format!("{reason} ({}); allowed is f32", self.name);
        Err(DeviceError::Dtype { key, dtype: "bf16", reason })
    }
}

/// Products in one round. On a GPU, waiting for a single product would take longer than the product itself.
const PRODUCTS_PER_ROUND: usize = 4;
const MAX_ROUNDS: usize = 8;
/// Large matrices are skipped if one round would take longer.
const MAX_ROUND_TIME: Duration = Duration::from_secs(1);

/// Returns the best rate of f32 products of square matrices; `None` if the device fails. wgpu starts with
/// small ones, because a software driver would take minutes for large ones.
pub fn measure_flop_per_s(device: &Device, kind: DeviceKind) -> Option<f64> {
    let (side, time) = kind.measurement_size();
    if kind == DeviceKind::Wgpu {
        let (small, _) = DeviceKind::Cpu.measurement_size();
        let rate = measure_rate(device, small, time)?;
        if round_flop(side) / rate > MAX_ROUND_TIME.as_secs_f64() {
            return Some(rate);
        }
    }
    measure_rate(device, side, time)
}

fn round_flop(side: usize) -> f64 {
    (PRODUCTS_PER_ROUND * 2 * side.pow(3)) as f64
}

/// Measures the rate with matrices of `side` rows. The first round, in which a GPU compiles, does not count.
fn measure_rate(device: &Device, side: usize, time: Duration) -> Option<f64> {
    // Irregular numbers, because a device could be faster with a pattern.
    let numbers = Tensor::<1, Int>::arange(0..(side * side) as i64, device).float();
    let matrix = (numbers * 1.7).sin().reshape([side, side]) / side as f64;
    let round = || {
        let began = Instant::now();
        let product = (0..PRODUCTS_PER_ROUND).fold(matrix.clone(), |product, _| matrix.clone().matmul(product));
        // READBACK: without one, the device need not compute anything.
        product.narrow(0, 0, 1).narrow(1, 0, 1).try_into_scalar::<f32>().ok()?;
        Some(began.elapsed().as_secs_f64())
    };
    round()?;
    let began = Instant::now();
    let mut best = f64::INFINITY;
    for number in 0..MAX_ROUNDS {
        if number > 0 && began.elapsed() >= time {
            break;
        }
        best = best.min(round()?);
    }
    Some(round_flop(side) / best)
}

/// Selects the device that `requested` (`auto`, `cpu`, `cuda`, `cuda:1`, `wgpu`) names, if it is available.
pub fn choose_device(requested: &str) -> Result<SelectedDevice, DeviceError> {
    #[cfg(feature = "gpu")]
    super::kernel_cache::configure_kernel_cache();
    let fail = |reason: String| DeviceError::Unavailable { requested: requested.to_owned(), reason };
    match requested.split_once(':').map_or((requested, None), |(kind, index)| (kind, Some(index))) {
        ("auto", None) => Ok(match cuda(0) {
            Ok(found) => cuda_device(0, found, "a CUDA device is available".into()),
            Err(reason) => cpu(format!("no CUDA: {reason}")),
        }),
        ("cpu", None) => Ok(cpu("selected by `run.device`".into())),
        ("cuda", index) => {
            let index = index.map_or(Ok(0), str::parse::<usize>);
            let index = index.map_err(|_| fail("the number after `cuda:` must be a whole number".into()))?;
            let found = cuda(index).map_err(&fail)?;
            Ok(cuda_device(index, found, "selected by `run.device`".into()))
        }
        ("wgpu", None) => wgpu().map_err(fail),
        _ => Err(fail("allowed are auto, cpu, cuda, cuda:N, wgpu".into())),
    }
}

fn cpu(reason: String) -> SelectedDevice {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let name = format!("CPU, {threads} thread{}", if threads == 1 { "" } else { "s" });
    SelectedDevice { device: Device::flex(), name, reason, kind: DeviceKind::Cpu, pci_bus_id: None }
}

#[cfg(feature = "cuda")]
fn cuda_device(index: usize, (name, bus): CudaInfo, reason: String) -> SelectedDevice {
    let name = format!("CUDA {index}: {name}");
    SelectedDevice { device: Device::cuda(index), name, reason, kind: DeviceKind::Cuda, pci_bus_id: bus }
}

#[cfg(not(feature = "cuda"))]
fn cuda_device(_: usize, _: CudaInfo, reason: String) -> SelectedDevice {
    cpu(reason)
}

/// Name and PCI bus id of a CUDA device, as the driver reports them.
type CudaInfo = (String, Option<String>);

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<CudaInfo, String> {
    Err("this binary is built without CUDA (cargo build --release --features cuda)".into())
}

/// Asks the driver for CUDA device `index`, without using Burn.
#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<CudaInfo, String> {
    use std::ffi::{c_char, c_int, c_uint};
    // SAFETY: loading the driver library runs its initialisers, which is what it is installed for; the four
    // symbols have had these signatures since CUDA 4.1 (CUDA driver API, cuInit, cuDeviceGetCount,
    // cuDeviceGetName, cuDeviceGetPCIBusId).
    unsafe {
        let library = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"]
            .iter()
            .find_map(|name| libloading::Library::new(*name).ok())
            .ok_or("no NVIDIA driver is installed (libcuda not found)")?;
        let missing = |error: libloading::Error| format!("the NVIDIA driver is incomplete: {error}");
        let init: libloading::Symbol<unsafe extern "C" fn(c_uint) -> c_int> =
            library.get(b"cuInit\0").map_err(missing)?;
        let count: libloading::Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            library.get(b"cuDeviceGetCount\0").map_err(missing)?;
        let name: libloading::Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
            library.get(b"cuDeviceGetName\0").map_err(missing)?;
        let bus: Option<libloading::Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>> =
            library.get(b"cuDeviceGetPCIBusId\0").ok();
        let mut devices = 0;
        match (init(0), count(&mut devices)) {
            (0, 0) if (index as c_int) < devices => {}
            (0, 0) => return Err(format!("no device {index}: the driver reports {devices} device(s)")),
            (code, _) => return Err(format!("the NVIDIA driver does not start (cuInit returned {code})")),
        }
        let query = |function: &dyn Fn(*mut c_char, c_int, c_int) -> c_int| {
            let mut text = [0 as c_char; 128];
            let succeeded = function(text.as_mut_ptr(), text.len() as c_int, index as c_int) == 0;
            let bytes: Vec<u8> = text.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
            succeeded.then(|| String::from_utf8_lossy(&bytes).into_owned())
        };
        let name = query(&|text, length, device| name(text, length, device));
        let bus = bus.and_then(|bus| query(&|text, length, device| bus(text, length, device)));
        Ok((name.unwrap_or_else(|| "unnamed".into()), bus))
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<SelectedDevice, String> {
    Err("this binary is built without wgpu (cargo build --release --features wgpu)".into())
}

/// Selects wgpu's default adapter. wgpu panics if it finds none, so a sum is tried first.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<SelectedDevice, String> {
    let result = std::panic::catch_unwind(|| {
        let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
        let sum = burn::tensor::Tensor::<1>::ones([2], &device).sum().try_into_scalar::<f32>();
        sum.map(|_| device).map_err(|error| error.to_string())
    });
    let device = result.map_err(|_| "no graphics adapter found".to_owned())??;
    let (name, reason) = ("wgpu, default adapter".into(), "selected by `run.device`".into());
    Ok(SelectedDevice { device, name, reason, kind: DeviceKind::Wgpu, pci_bus_id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_multiplies_only_f32() {
        let chosen = choose_device("cpu").unwrap();
        assert!(chosen.check_dtype(Dtype::F32, "run.dtype").is_ok());
        let refused = chosen.check_dtype(Dtype::Bf16, "run.dtype").unwrap_err().to_string();
        assert!(refused.contains("`run.dtype` = bf16: the CPU"), "{refused}");
    }

    #[test]
    fn a_device_has_a_rate() {
        let rate = measure_flop_per_s(&Device::flex(), DeviceKind::Cpu).unwrap();
        assert!((1e7..1e15).contains(&rate), "{rate}");
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_reason() {
        assert!(choose_device("cpu").unwrap().name.starts_with("CPU"));
        assert!(choose_device("tpu").unwrap_err().to_string().contains("allowed are auto, cpu, cuda"));
        assert!(choose_device("cpu:1").is_err());
        if cfg!(not(feature = "cuda")) {
            assert!(choose_device("auto").unwrap().reason.contains("built without CUDA"));
            assert!(choose_device("cuda:0").unwrap_err().to_string().contains("built without CUDA"));
        }
    }
}

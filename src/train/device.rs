//! Owns: which device a run uses, and why; whether a GPU's driver is there at all; how fast the device multiplies.
//! Must not know: what runs on it.
//! Invariant: a device is constructed only after its driver has answered, because asking Burn for a CUDA device
//! without a driver panics on Burn's own thread.

use super::TrainError;
use crate::config::Dtype;
use burn::tensor::{DType, Device, Int, Tensor};
use std::time::{Duration, Instant};

/// A device and the reason for it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device, without autodiff.
    pub device: Device,
    /// It, in words.
    pub name: String,
    /// Why it was taken.
    pub reason: String,
    pub kind: Kind,
    /// Where it stands on the PCI bus, where that is known.
    pub bus: Option<String>,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cpu,
    Cuda,
    Wgpu,
}

impl Kind {
    /// As `run.device` names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu",
            Kind::Cuda => "cuda",
            Kind::Wgpu => "wgpu",
        }
    }

    /// Whether it compiles kernels before it first runs them.
    pub fn compiles(self) -> bool {
        self != Kind::Cpu
    }

    /// Rows of the products that measure it, and how long it is measured: enough to fill it, little enough not to be waited
    /// for.
    fn measure(self) -> (usize, Duration) {
        match self {
            Kind::Cpu => (512, Duration::from_millis(40)),
            Kind::Cuda => (4096, Duration::from_millis(200)),
            Kind::Wgpu => (2048, Duration::from_millis(200)),
        }
    }
}

impl Chosen {
    /// Refuses, for the sake of `key`, a type of products that the device does not have, or has for show alone.
    pub fn multiplies(&self, dtype: Dtype, key: &'static str) -> Result<(), TrainError> {
        let reason = match (dtype, self.kind) {
            (Dtype::F32, _) => return Ok(()),
            (Dtype::Bf16, Kind::Cpu) => "the CPU multiplies f32 alone at full speed",
            (Dtype::Bf16, _) if self.device.supports_dtype(DType::BF16) => return Ok(()),
            (Dtype::Bf16, _) => "the device does not have it",
        };
        let reason = format!("{reason} ({}); allowed is f32", self.name);
        Err(TrainError::Setting { key, value: "bf16".into(), reason })
    }
}

/// Products between two waits for a device: one alone would be waited for longer than it takes on a GPU.
const PRODUCTS: usize = 4;
/// Measurements at most.
const ROUNDS: usize = 8;

/// The best rate of the device's product of two square matrices (f32), in floating-point operations a second; none where it
/// fails. The first round, in which a GPU compiles, does not count.
pub(super) fn flop_per_s(device: &Device, kind: Kind) -> Option<f64> {
    let (side, time) = kind.measure();
    // Numbers of no pattern that a device could be quicker with.
    let numbers = Tensor::<1, Int>::arange(0..(side * side) as i64, device).float();
    let matrix = (numbers * 1.7).sin().reshape([side, side]) / side as f64;
    let round = || {
        let began = Instant::now();
        let product = (0..PRODUCTS).fold(matrix.clone(), |product, _| matrix.clone().matmul(product));
        // READBACK: what nobody reads need not have been computed.
        product.narrow(0, 0, 1).narrow(1, 0, 1).try_into_scalar::<f32>().ok()?;
        Some(began.elapsed().as_secs_f64())
    };
    round()?;
    let began = Instant::now();
    let mut best = f64::INFINITY;
    for at in 0..ROUNDS {
        if at > 0 && began.elapsed() >= time {
            break;
        }
        best = best.min(round()?);
    }
    Some((PRODUCTS * 2 * side.pow(3)) as f64 / best)
}

/// The device that `wanted` (`auto`, `cpu`, `cuda`, `cuda:1`, `wgpu`) names.
pub fn choose(wanted: &str) -> Result<Chosen, TrainError> {
    let fail = |reason: String| TrainError::Device { wanted: wanted.to_owned(), reason };
    match wanted.split_once(':').map_or((wanted, None), |(kind, index)| (kind, Some(index))) {
        ("auto", None) => Ok(match cuda(0) {
            Ok(found) => cuda_device(0, found, "it is built in and answers".into()),
            Err(why) => cpu(format!("no CUDA: {why}")),
        }),
        ("cpu", None) => Ok(cpu("`run.device` asks for it".into())),
        ("cuda", index) => {
            let index = index.map_or(Ok(0), str::parse::<usize>);
            let index = index.map_err(|_| fail("the number after `cuda:` must be a whole number".into()))?;
            let found = cuda(index).map_err(&fail)?;
            Ok(cuda_device(index, found, "`run.device` asks for it".into()))
        }
        ("wgpu", None) => wgpu().map_err(fail),
        _ => Err(fail("allowed are auto, cpu, cuda, cuda:N, wgpu".into())),
    }
}

fn cpu(reason: String) -> Chosen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let name = format!("CPU, {threads} thread{}", if threads == 1 { "" } else { "s" });
    Chosen { device: Device::flex(), name, reason, kind: Kind::Cpu, bus: None }
}

#[cfg(feature = "cuda")]
fn cuda_device(index: usize, (name, bus): Answer, reason: String) -> Chosen {
    let name = format!("CUDA {index}: {name}");
    Chosen { device: Device::cuda(index), name, reason, kind: Kind::Cuda, bus }
}

#[cfg(not(feature = "cuda"))]
fn cuda_device(_: usize, _: Answer, reason: String) -> Chosen {
    cpu(reason)
}

/// What the driver says of a CUDA device: its name, and where it stands on the PCI bus.
type Answer = (String, Option<String>);

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Answer, String> {
    Err("this binary is built without it (cargo build --release --features cuda)".into())
}

/// CUDA device `index`, asked of the driver and of nobody else.
#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Answer, String> {
    use std::ffi::{c_char, c_int, c_uint};
    // SAFETY: loading the driver library runs its initialisers, which is what it is installed for; the four symbols have
    // had these signatures since CUDA 4.1 (CUDA driver API, cuInit, cuDeviceGetCount, cuDeviceGetName,
    // cuDeviceGetPCIBusId).
    unsafe {
        let library = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"]
            .iter()
            .find_map(|name| libloading::Library::new(*name).ok())
            .ok_or("no NVIDIA driver is installed (libcuda is not found)")?;
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
            (0, 0) => return Err(format!("the driver knows {devices} device(s), number {index} is not one")),
            (code, _) => return Err(format!("the NVIDIA driver does not start (cuInit says {code})")),
        }
        let said = |asked: &dyn Fn(*mut c_char, c_int, c_int) -> c_int| {
            let mut text = [0 as c_char; 128];
            let answered = asked(text.as_mut_ptr(), text.len() as c_int, index as c_int) == 0;
            let bytes: Vec<u8> = text.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
            answered.then(|| String::from_utf8_lossy(&bytes).into_owned())
        };
        let name = said(&|text, length, device| name(text, length, device));
        let bus = bus.and_then(|bus| said(&|text, length, device| bus(text, length, device)));
        Ok((name.unwrap_or_else(|| "unnamed".into()), bus))
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Chosen, String> {
    Err("this binary is built without it (cargo build --release --features wgpu)".into())
}

/// wgpu panics where it finds no adapter, so it is tried out with one sum.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Chosen, String> {
    let tried = std::panic::catch_unwind(|| {
        let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
        let sum = burn::tensor::Tensor::<1>::ones([2], &device).sum().try_into_scalar::<f32>();
        sum.map(|_| device).map_err(|error| error.to_string())
    });
    let device = tried.map_err(|_| "no graphics adapter answers".to_owned())??;
    let (name, reason) = ("wgpu, default adapter".into(), "`run.device` asks for it".into());
    Ok(Chosen { device, name, reason, kind: Kind::Wgpu, bus: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_multiplies_f32_alone() {
        let chosen = choose("cpu").unwrap();
        assert!(chosen.multiplies(Dtype::F32, "run.dtype").is_ok());
        let refused = chosen.multiplies(Dtype::Bf16, "run.dtype").unwrap_err().to_string();
        assert!(refused.contains("`run.dtype` = bf16: the CPU"), "{refused}");
    }

    #[test]
    fn a_device_has_a_rate() {
        let rate = flop_per_s(&Device::flex(), Kind::Cpu).unwrap();
        assert!((1e7..1e15).contains(&rate), "{rate}");
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_reason() {
        assert!(choose("cpu").unwrap().name.starts_with("CPU"));
        assert!(choose("tpu").unwrap_err().to_string().contains("allowed are auto, cpu, cuda"));
        assert!(choose("cpu:1").is_err());
        if cfg!(not(feature = "cuda")) {
            assert!(choose("auto").unwrap().reason.contains("built without it"));
            assert!(choose("cuda:0").unwrap_err().to_string().contains("built without it"));
        }
    }
}

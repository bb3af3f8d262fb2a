//! Owns: which device a run uses, and why; whether a GPU's driver is there at all.
//! Must not know: what runs on it.
//! Invariant: a device is constructed only after its driver has answered, because asking Burn for a CUDA device
//! without a driver panics on Burn's own thread.

use super::TrainError;
use burn::tensor::Device;

/// A device and the reason for it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The device, without autodiff.
    pub device: Device,
    /// It, in words.
    pub name: String,
    /// Why it was taken.
    pub reason: String,
}

/// The device that `wanted` (`auto`, `cpu`, `cuda`, `cuda:1`, `wgpu`) names.
pub fn choose(wanted: &str) -> Result<Chosen, TrainError> {
    let fail = |reason: String| TrainError::Device { wanted: wanted.to_owned(), reason };
    match wanted.split_once(':').map_or((wanted, None), |(kind, index)| (kind, Some(index))) {
        ("auto", None) => Ok(match cuda(0) {
            Ok(name) => cuda_device(0, name, "it is built in and answers".into()),
            Err(why) => cpu(format!("no CUDA: {why}")),
        }),
        ("cpu", None) => Ok(cpu("`run.device` asks for it".into())),
        ("cuda", index) => {
            let index = index.map_or(Ok(0), str::parse::<usize>);
            let index = index.map_err(|_| fail("the number after `cuda:` must be a whole number".into()))?;
            let name = cuda(index).map_err(&fail)?;
            Ok(cuda_device(index, name, "`run.device` asks for it".into()))
        }
        ("wgpu", None) => wgpu().map_err(fail),
        _ => Err(fail("allowed are auto, cpu, cuda, cuda:N, wgpu".into())),
    }
}

fn cpu(reason: String) -> Chosen {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let name = format!("CPU, {threads} thread{}", if threads == 1 { "" } else { "s" });
    Chosen { device: Device::flex(), name, reason }
}

#[cfg(feature = "cuda")]
fn cuda_device(index: usize, name: String, reason: String) -> Chosen {
    Chosen { device: Device::cuda(index), name: format!("CUDA {index}: {name}"), reason }
}

#[cfg(not(feature = "cuda"))]
fn cuda_device(_: usize, _: String, reason: String) -> Chosen {
    cpu(reason)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<String, String> {
    Err("this binary is built without it (cargo build --release --features cuda)".into())
}

/// The name of CUDA device `index`, asked of the driver and of nobody else.
#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<String, String> {
    use std::ffi::{c_char, c_int, c_uint};
    // SAFETY: loading the driver library runs its initialisers, which is what it is installed for; the three symbols
    // have had these signatures since CUDA 2.0 (CUDA driver API, cuInit, cuDeviceGetCount, cuDeviceGetName).
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
        let mut devices = 0;
        match (init(0), count(&mut devices)) {
            (0, 0) if (index as c_int) < devices => {}
            (0, 0) => return Err(format!("the driver knows {devices} device(s), number {index} is not one")),
            (code, _) => return Err(format!("the NVIDIA driver does not start (cuInit says {code})")),
        }
        let mut text = [0 as c_char; 128];
        if name(text.as_mut_ptr(), text.len() as c_int, index as c_int) != 0 {
            return Ok("unnamed".into());
        }
        let bytes: Vec<u8> = text.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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
    Ok(Chosen { device, name: "wgpu, default adapter".into(), reason: "`run.device` asks for it".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

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

#!/usr/bin/env bash
# Train, export and audit on the embedded synthetic images. Arguments go to `skinaudit train`, for example --epochs 2 --images 600.
set -uo pipefail
skinaudit train --hardening pgd "$@" || exit
skinaudit export --fp16 || exit
skinaudit audit runs/latest/engines/fp16.onnx
case $? in
  0) echo "the engine may ship" ;;
  1) echo "the engine is less robust than the model" ;;
  3) echo "more test images are needed to tell" ;;
  *) echo "the audit could not be made" && exit 2 ;;
esac
